"""Ray, on a real cluster of this machine with two workers: the same scores, nothing lost and nothing twice."""

import contextlib
import csv
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _streams import score_file

import demur
from demur import BatchScorer
from demur.cli import main
from demur.errors import DataError

ray = pytest.importorskip("ray", reason="needs Ray")
pytest.importorskip("ray.data", reason="needs Ray Data")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

import pyarrow

from demur._ray import _lines
from demur.ray import Counts, RefusalScorer, score_with_ray, ship

# Ray and what it starts warn of things that are none of demur's business.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

REPLIES = ["I'm sorry, but I can't help with that.", "Paris.", "", None, "Sure, here it is.", "I won't do that."]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    yield
    ray.shutdown()


def _rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    places = range(first, first + count)
    return [{"id": i, "prompt": f"Question {i}?", "response": REPLIES[i % len(REPLIES)]} for i in places]


def _read(folder: Path) -> list[dict[str, Any]]:
    parts = sorted(folder.iterdir())
    return [row for part in parts for row in parquet.read_table(part).to_pylist()]


def test_map_batches_gives_the_scores_of_one_process() -> None:
    table = pyarrow.Table.from_pylist(_rows(40))
    pool = ray.data.ActorPoolStrategy(size=2)
    rows = ray.data.from_arrow([table.slice(0, 25), table.slice(25)])
    options: dict[str, Any] = {"compute": pool, "num_cpus": 1, "batch_size": 8, "batch_format": "pyarrow"}
    shipped = rows.map_batches(RefusalScorer, fn_constructor_args=(ship(),), **options)
    expected = demur.score_table(table).to_pylist()
    assert sorted(shipped.take_all(), key=lambda row: row["id"]) == expected


def test_arrays_without_types_are_refused() -> None:
    with pytest.raises(DataError, match="pass batch_format='pyarrow'"):
        RefusalScorer()({"prompt": ["Q"], "response": ["A"]})


def test_parquet_keeps_its_order_and_its_other_columns(tmp_path: Path) -> None:
    rows = [{**row, "nested": [{"a": row["id"]}], "demur_score": "old"} for row in _rows(30)]
    for i in range(3):
        parquet.write_table(pyarrow.Table.from_pylist(rows[10 * i : 10 * i + 10]), tmp_path / f"{i}.parquet")
    counts = score_with_ray([tmp_path / f"{i}.parquet" for i in range(3)], tmp_path / "out", actors=2)
    expected = demur.score_table(pyarrow.Table.from_pylist(rows)).to_pylist()
    assert _read(tmp_path / "out") == expected
    assert counts == Counts(30, 10, 10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.parquet", "1.parquet", "2.parquet", "out"]


def test_jsonl_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [json.dumps(row) for row in _rows(30)]
    lines[3:3] = ["", "no json", '{"prompt": 1}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with (tmp_path / "rows.jsonl").open("rb") as source, (tmp_path / "plain").open("wb") as target:
        tally = score_file(demur.load(threads=1), source, target, workers=1, turns="last")
    counts = score_with_ray([tmp_path / "rows.jsonl"], tmp_path / "out", actors=2, threshold=0.5)
    parts = sorted((tmp_path / "out").iterdir())
    assert b"".join(part.read_bytes() for part in parts) == (tmp_path / "plain").read_bytes()
    assert counts == Counts(tally.lines, tally.refusals, tally.failed) == Counts(32, 10, 12)


def test_the_command_scores_on_ray_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join([*(json.dumps(row) for row in _rows(9)), "no json"]))
    assert main(["score", str(rows), "-o", str(tmp_path / "plain.jsonl")]) == 1
    assert main(["score", str(rows), "-o", str(tmp_path / "out"), "--engine", "ray", "--workers", "2"]) == 1
    parts = sorted((tmp_path / "out").iterdir())
    assert b"".join(part.read_bytes() for part in parts) == (tmp_path / "plain.jsonl").read_bytes()
    assert "of 10 rows could not be scored" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "row"),
    [
        (
            ["--prompt-column", "log.q", "--response-column", "log.a[-1]"],
            {"log": {"q": "Why?", "a": ["no", REPLIES[0]]}},
        ),
        (
            ["--messages-column", "chat"],
            {"chat": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": REPLIES[0]}]},
        ),
        (["--text-column", "t"], {"t": f"<|user|>Why?<|assistant|>{REPLIES[0]}"}),
        (["--response-column", "a", "--system-column", "s"], {"a": REPLIES[0], "s": "Be kind.", "response": "Sure."}),
    ],
    ids=["exchange", "messages", "text", "system"],
)
def test_named_columns_count_in_every_format(tmp_path: Path, named: list[str], row: dict[str, Any]) -> None:
    rows = [row, dict.fromkeys(row)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    assert main(["score", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "plain.jsonl"), *named]) == 1
    expected = [json.loads(line)["demur"] for line in (tmp_path / "plain.jsonl").read_text().splitlines()]
    for name in ("rows.jsonl", "rows.parquet"):
        out = tmp_path / f"out-{name}"
        assert main(["score", str(tmp_path / name), "-o", str(out), "--engine", "ray", "--workers", "1", *named]) == 1
        if name == "rows.jsonl":
            (part,) = out.iterdir()
            assert part.read_bytes() == (tmp_path / "plain.jsonl").read_bytes()
        else:
            assert [one["demur_score"] for one in _read(out)] == [one.get("score") for one in expected]
            assert [one["demur_error"] for one in _read(out)] == [one.get("error") for one in expected]


@pytest.mark.parametrize("size", [1, 7, 40, 1000])
def test_lines_are_cut_nowhere_and_keep_their_numbers(tmp_path: Path, size: int) -> None:
    text = b"\n".join([b"first", b"", b"x" * 30, b" ", b"caf\xc3\xa9\r", b"last"])
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "b.jsonl").write_bytes(b"\n" + text + b"\n")
    (tmp_path / "c.jsonl").write_bytes(b"")
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    found = _plain_lines(paths, size)
    kept = [(1, b"first"), (3, b"x" * 30), (5, b"caf\xc3\xa9"), (6, b"last")]
    assert found == kept + [(number + 1, line) for number, line in kept]


def _plain_lines(paths: list[str], size: int) -> list[tuple[int, bytes]]:
    """What the tasks of Ray read, one after the other."""
    filesystem = pyarrow.fs.LocalFileSystem()
    read, count = _lines._Read(filesystem), _lines._Count(filesystem)
    found = []
    for path in paths:
        first = 1
        for one in _lines._ranges(filesystem, path, size):
            batch = pyarrow.Table.from_pylist([{**one, "first": first}])
            for table in read(batch):
                found += [(row["number"], row["line"].rstrip()) for row in table.to_pylist()]
            first += count({**one, "alone": False})["lines"]
    return found


def test_csv_and_packed_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("q,a,n\n2+2?,4,1\nWhy?,\"I'm sorry,\nI can't help with that.\",2\n")
    counts = score_with_ray([tmp_path / "rows.csv"], tmp_path / "out", actors=1, prompt="q", response="a")
    assert counts == Counts(2, 1, 0)
    (part,) = (tmp_path / "out").iterdir()
    assert part.read_text().startswith('"q","a","n","demur_score","demur_refusal"')
    assert "I can't help with that." in part.read_text()


def test_a_row_of_csv_that_is_cut_short_or_too_long_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    text = b"\xef\xbb\xbfid;prompt;response\r\n007;Q;I won't do that.\r\n1;Q\r\n2;Q;Sure.;more\r\n3;Q;caf\xe9\r\n"
    (tmp_path / "in" / "rows.csv").write_bytes(text)
    assert score_with_ray([tmp_path / "in"], tmp_path / "out", actors=1) == Counts(4, 1, 3)
    (part,) = (tmp_path / "out").iterdir()
    with part.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["007", "1", "2", "3"]
    assert [row["demur_refusal"] for row in rows] == ["true", "", "", ""]
    assert [row["demur_error"][:36] for row in rows] == [
        "",
        "the row has 2 cells, the header 3",
        "the row has 4 cells, the header 3: 2",
        "not UTF-8; convert the file (iconv -",
    ]
    assert rows[2]["demur_error"].endswith("2;Q;Sure.;more")


def test_mistakes_are_said_before_anything_is_scored(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\n")
    (tmp_path / "a.jsonl").write_text("{}\n")
    (tmp_path / "a.txt").write_text("{}\n")
    (tmp_path / "a.json").write_text("{}\n")
    for inputs, message in [
        (["b.csv"], "no such file"),
        (["a.txt"], "Ray's engine reads what ends in .jsonl, .jsonl.gz, .csv, .csv.gz, .parquet"),
        (["a.json"], "holds jsonl; give it a name that ends in .jsonl"),
        (["a.csv", "a.jsonl"], r"of several kinds \(csv, jsonl\)"),
        ([], "there are none"),
    ]:
        with pytest.raises(DataError, match=message):
            score_with_ray([tmp_path / name for name in inputs], tmp_path / "out")
    with pytest.raises(DataError, match="is there already"):
        score_with_ray([tmp_path / "a.csv"], tmp_path)


def _busy() -> list[int]:
    """The processes of this cluster in which an actor is scoring a batch."""
    ours, found = {os.getpid()}, []
    processes = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    for process in processes:
        with contextlib.suppress(OSError):
            facts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            if int(facts[1]) in ours:
                ours.add(process)
                if b"RefusalScorer)).submit" in Path(f"/proc/{process}/cmdline").read_bytes():
                    found.append(process)
    return found


def test_a_worker_that_is_killed_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    files, each = 8, 40
    for i in range(files):
        parquet.write_table(pyarrow.Table.from_pylist(_rows(each, each * i)), tmp_path / f"{i}.parquet")
    killed: list[int] = []

    def kill() -> None:
        while not (found := _busy()):
            time.sleep(0.02)
        os.kill(found[0], signal.SIGKILL)
        killed.append(found[0])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    inputs = [tmp_path / f"{i}.parquet" for i in range(files)]
    counts = score_with_ray(inputs, tmp_path / "out", actors=2, model=ship())
    killer.join(10)
    rows = _read(tmp_path / "out")
    assert len(killed) == 1
    assert [row["id"] for row in rows] == list(range(files * each))
    alone = BatchScorer(workers=1)({"prompt": [r["prompt"] for r in rows], "response": [r["response"] for r in rows]})
    assert [row["demur_score"] for row in rows] == alone["demur_score"]
    assert counts.rows == files * each
