"""`demur report`: the numbers are those of the rows, whatever file they are in."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _streams import score_file

from demur import Classifier, score_table
from demur.cli import main

pytest.importorskip("matplotlib", reason="needs matplotlib")

REPLIES = ["I'm sorry, no.", "Sure.", "Yes.", "", "I'm sorry.", "Of course."]
ROWS: list[dict[str, Any]] = [
    {
        "prompt": f"Question {i}",
        "response": reply,
        "lang": "en" if i % 2 else "de",
        "meta": {"source": "a"},
        "day": f"2024-03-0{i + 1}",
    }
    for i, reply in enumerate(REPLIES)
]


def _jsonl(model: Classifier, rows: list[dict[str, Any]], turns: Any = "last") -> bytes:
    source, target = io.BytesIO("".join(f"{json.dumps(row)}\n" for row in rows).encode()), io.BytesIO()
    score_file(model, source, target, workers=1, turns=turns)
    return target.getvalue()


def _table(model: Classifier, rows: list[dict[str, Any]]) -> Any:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    return score_table(pyarrow.Table.from_pylist(rows), model=model)


def _write_jsonl(model: Classifier, path: Path) -> None:
    path.write_bytes(_jsonl(model, ROWS))


def _write_gzip(model: Classifier, path: Path) -> None:
    path.write_bytes(gzip.compress(_jsonl(model, ROWS)))


def _write_parquet(model: Classifier, path: Path) -> None:
    pytest.importorskip("pyarrow.parquet").write_table(_table(model, ROWS), path)


def _write_feather(model: Classifier, path: Path) -> None:
    pytest.importorskip("pyarrow.feather").write_feather(_table(model, ROWS), path)


def _write_csv(model: Classifier, path: Path) -> None:
    rows = [{**row, "meta": None, "meta.source": "a"} for row in _table(model, ROWS).to_pylist()]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _report(folder: Path, scored: Path, *options: str) -> tuple[dict[str, Any], str]:
    """Run the command and return the numbers and the page."""
    page = folder / "report.html"
    assert main(["report", str(scored), "-o", str(page), *options]) == 0
    return json.loads((folder / "report.json").read_text()), page.read_text()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("s.jsonl", _write_jsonl),
        ("s.jsonl.gz", _write_gzip),
        ("s.parquet", _write_parquet),
        ("s.feather", _write_feather),
        ("s.csv", _write_csv),
    ],
)
def test_every_format_gives_the_same_numbers(
    fake: Classifier, tmp_path: Path, name: str, write: Callable[[Classifier, Path], None]
) -> None:
    write(fake, tmp_path / name)
    numbers, page = _report(tmp_path, tmp_path / name, "--by", "lang,meta.source", "--time", "day")
    assert {key: numbers["overall"][key] for key in ("replies", "refusals", "rate")} == {
        "replies": 5,
        "refusals": 2,
        "rate": 0.4,
    }
    assert numbers["errors"] == {
        "rows": 1,
        "reasons": [{"reason": "the response is empty, so there is no reply to judge", "rows": 1}],
    }
    groups = [(g["value"], g["replies"], g["refusals"], g["errors"]) for g in numbers["by"]["lang"]]
    assert groups == [("de", 3, 2, 0), ("en", 2, 0, 1)]
    assert [(g["value"], g["replies"]) for g in numbers["by"]["meta.source"]] == [("a", 5)]
    assert numbers["over"]["kind"] == "time"
    assert [b["refusals"] for b in numbers["over"]["buckets"]] == [1, 0, 0, 1, 0]
    assert numbers["over"]["buckets"][0]["from"] == "2024-03-01T00:00Z"
    assert [(b["from"], b["replies"]) for b in numbers["histogram"] if b["replies"]] == [(0.0, 3), (0.95, 2)]
    assert sum(sum(row["scores"]) for row in numbers["lengths"]) == 5
    assert [one["place"].split(", ")[1].split()[1] for one in numbers["examples"]["surest_refusals"]] == ["1", "5"]
    for text in ("Question 4", "I&#x27;m sorry, no.", "40.0 %", "the response is empty"):
        assert text in page


def test_all_replies_of_a_row_are_counted(fake: Classifier, tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Sure."},
        {"role": "user", "content": "Second?"},
        {"role": "assistant", "content": "I'm sorry."},
    ]
    rows = [{"messages": messages, "system": "Be kind."}, {"messages": messages[:1]}]
    (tmp_path / "s.jsonl").write_bytes(_jsonl(fake, rows, "all"))
    numbers, page = _report(tmp_path, tmp_path / "s.jsonl")
    assert (numbers["overall"]["replies"], numbers["overall"]["refusals"], numbers["errors"]["rows"]) == (2, 1, 1)
    (refusal,) = numbers["examples"]["surest_refusals"]
    assert refusal["turn"] == 3
    shown = page.index("Second?")
    assert shown < page.index("I&#x27;m sorry.", shown) < page.index("First?")


def test_several_files_are_one_report_and_numbers_can_go_elsewhere(
    fake: Classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(_jsonl(fake, ROWS))
    page = tmp_path / "r.html"
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "-o", str(page), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["overall"]["replies"] == 10
    assert "10 replies, 40.0 % refusals, 2 rows not scored" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "r.html"]


def test_a_file_without_replies_gives_a_page_without_plots(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(b'{"demur": {"error": "no"}}\n')
    numbers, page = _report(tmp_path, tmp_path / "s.jsonl", "--by", "lang")
    assert numbers["overall"] == {"replies": 0, "refusals": 0, "rate": None, "low": None, "high": None}
    assert "<svg" not in page


def test_no_reply_is_shown_twice_and_named_columns_are_shown(fake: Classifier, tmp_path: Path) -> None:
    rows = [{"q": f"Q{i}", "a": "I'm sorry." if i < 9 else "I am sorry."} for i in range(10)]
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
    table = score_table(pyarrow.Table.from_pylist(rows), model=fake, prompt="q", response="a")
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "s.parquet")
    numbers, page = _report(tmp_path, tmp_path / "s.parquet", "--prompt-column", "q", "--response-column", "a")
    assert [one["place"][-3:].strip() for one in numbers["examples"]["surest_refusals"]] == ["w 1", "10"]
    assert page.count("I&#x27;m sorry.") == 2  # as one of the surest, and as one of the closest
    assert ">Q9<" in page


def test_the_page_is_the_same_every_time_and_asks_the_network_for_nothing(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_bytes(_jsonl(fake, ROWS))
    _, first = _report(tmp_path, tmp_path / "s.jsonl")
    _, second = _report(tmp_path, tmp_path / "s.jsonl")
    assert first == second
    assert first.count("<svg") == 3
    for address in ("src=", "http:", "https:", "@import", 'href="h', "<script"):
        assert address not in first.replace("http://www.w3.org/", ""), address


_GOOD = '{"refusal": true, "score": 0.9, "tokens": 5, "elided": 0}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "Q"}', "s.jsonl, line 2: has neither a demur object nor a demur_score column; run demur score"),
        ('{"demur": {"refusal": true', "s.jsonl, line 2: not JSON"),
        ("[]", "line 2: a line is a JSON object, this one is a list"),
        (f'{{"demur": {_GOOD.replace("0.9", "1.5")}}}', "the verdict's score is '1.5', expected a number from 0 to 1"),
        (f'{{"demur": {_GOOD.replace("0.9", "NaN")}}}', "the verdict's score is 'nan'"),
        (f'{{"demur": {_GOOD.replace("true", "2")}}}', "the verdict's refusal is '2', expected true or false"),
        (f'{{"demur": {_GOOD.replace("5", "-5")}}}', "the verdict's tokens is '-5', expected a whole number"),
        ('{"demur": {"turns": [1]}}', "a reply's verdict is '1', expected an object"),
    ],
)
def test_a_row_that_was_not_scored_or_is_damaged_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    (tmp_path / "s.jsonl").write_text(f'{{"demur": {_GOOD}}}\n{line}\n')
    assert main(["report", str(tmp_path / "s.jsonl"), "-o", str(tmp_path / "r.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "s.jsonl"], "is an input itself"),
        (["-o", "r.html", "--json", "s.jsonl"], "is an input itself"),
        (["-o", "r.json"], "would be the same file"),
        (["-o", "r.html", "--prompt-column", "q"], "so there is no reply"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.jsonl").write_text(f'{{"demur": {_GOOD}}}\n')
    assert main(["report", "s.jsonl", *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]
