"""`demur report` reads whatever `demur score` writes, and says the same of it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from _bulk import as_csv, do, jsonl, rows

from demur import Classifier
from demur._bulk._inputs import find
from demur._columns import Columns
from demur._report import _command, _rows
from demur._report._examples import Examples
from demur._report._tally import Tally
from demur.cli import main

pytest.importorskip("matplotlib", reason="needs matplotlib")
pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
pytest.importorskip("zstandard", reason="needs zstandard")

_ENDINGS = (
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "feather",
    "jsonl.gz",
    "jsonl.zst",
    "json.zst",
    "csv.gz",
    "tsv.zst",
)
_CHAT = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "Sure."},
    {"role": "user", "content": "R"},
    {"role": "assistant", "content": "I'm sorry."},
]


def _numbers(*scored: Path, by: tuple[str, ...] = (), columns: Columns | None = None) -> dict[str, Any]:
    """The numbers of a report, and for each example the row's place in its file."""
    columns = columns or Columns()
    examples = Examples(5, columns)
    tally = Tally(by, None, examples)
    _command.count(find([str(one) for one in scored]), columns, tally)
    shown = {
        kind: [(one.item.place.split()[-1], one.item.turn, one.prompt, one.reply) for one in kept]
        for kind, kept in examples.to_dict().items()
    }
    return {**tally.to_dict([]), "examples": shown}


@pytest.mark.parametrize("every", [False, True])
def test_every_format_gives_the_same_numbers(fake: Classifier, tmp_path: Path, every: bool) -> None:
    table = [{**row, "messages": _CHAT if i % 3 else _CHAT[:1]} for i, row in enumerate(rows(9))]
    (tmp_path / "in.jsonl").write_bytes(jsonl(table))
    found = {}
    for ending in _ENDINGS:
        do(fake, tmp_path / "in.jsonl", tmp_path / f"out.{ending}", every=every)
        found[ending] = _numbers(tmp_path / f"out.{ending}", by=("id",))
    first = found["jsonl"]
    assert first["overall"]["replies"] == (12 if every else 6)
    assert first["overall"]["refusals"] == 6
    assert first["errors"]["rows"] == 3
    assert len(first["models"]) == len(first["thresholds"]) == 1
    assert len(first["by"]["id"]) == 9
    for ending, numbers in found.items():
        assert numbers == first, ending


def test_folders_and_globs_are_read_as_score_reads_them(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(6)))
    (tmp_path / "out").mkdir()
    do(fake, tmp_path / "in.jsonl", tmp_path / "out" / "part-0.csv.gz")
    do(fake, tmp_path / "in.jsonl", tmp_path / "out" / "part-1.parquet")
    assert _numbers(tmp_path / "out")["overall"]["replies"] == 8
    assert _numbers(tmp_path / "out" / "part-*")["overall"]["replies"] == 8
    (tmp_path / "nameless").write_bytes(gzip.decompress((tmp_path / "out" / "part-0.csv.gz").read_bytes()))
    page = tmp_path / "r.html"
    assert main(["report", str(tmp_path / "nameless"), "-o", str(page), "--input-format", "csv"]) == 0
    assert json.loads(page.with_suffix(".json").read_text())["overall"]["replies"] == 4


def test_rows_that_are_cut_short_or_too_long_keep_their_places(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("prompt,response\nQ,Sure.\nQ\nQ,A,B,C\nQ,I'm sorry.\n")
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    numbers = _numbers(tmp_path / "out.csv")
    assert (numbers["overall"]["replies"], numbers["overall"]["refusals"], numbers["errors"]["rows"]) == (2, 1, 2)
    assert sorted(reason["reason"][:17] for reason in numbers["errors"]["reasons"]) == [
        "the row has 1 cel",
        "the row has 4 cel",
    ]


def test_no_other_column_is_read(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"a": ["1"], "b": ["2"]}), tmp_path / "s.parquet")
    assert [dict(row) for _, row in _rows.read(find([str(tmp_path / "s.parquet")]), {"b", "c"})] == [{"b": "2"}]


def test_examples_and_columns_are_found_by_paths(fake: Classifier, tmp_path: Path) -> None:
    table = [{"log": {"q": "Why?", "a": [reply]}, "meta": [{"lang": "de"}]} for reply in ("Sure.", "I'm sorry.")]
    (tmp_path / "in.jsonl").write_bytes(jsonl(table))
    columns = Columns(prompt="log.q", response="log.a[0]")
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.parquet", columns=columns)
    numbers = _numbers(tmp_path / "out.parquet", by=("meta[0].lang", "none.there"), columns=columns)
    assert [(one["value"], one["replies"]) for one in numbers["by"]["meta[0].lang"]] == [("de", 2)]
    assert [(one["value"], one["replies"]) for one in numbers["by"]["none.there"]] == [("(none)", 2)]
    assert numbers["examples"]["surest_refusals"] == [("2", None, "Why?", "I'm sorry.")]


@pytest.mark.parametrize("turns", ["[oops", "7", '"x"'])
def test_damaged_verdicts_of_all_replies_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], turns: str
) -> None:
    (tmp_path / "s.csv").write_bytes(as_csv([{"demur_turns": turns}]))
    assert main(["report", str(tmp_path / "s.csv"), "-o", str(tmp_path / "r.html")]) == 2
    assert "s.csv, row 1: the verdict's turns is " in capsys.readouterr().err
