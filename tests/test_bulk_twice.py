"""A text that comes again is judged once, whatever file it is in, whoever works on it, and after a resumption."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _bulk import as_csv, do, jsonl, read_jsonl

from demur import Classifier
from demur._bulk._run import TooManyErrorsError
from demur.testing import fake_classifier

_REPLIES = ("Sure.", "I'm sorry.", "Sure, " + "gladly " * 3000)


def _counting() -> tuple[Classifier, list[str]]:
    """A classifier, and the texts that it ran."""
    seen: list[str] = []

    def score(text: str) -> float:
        seen.append(text)
        return 0.99 if "sorry" in text else 0.01

    return fake_classifier(score), seen


def _rows(n: int) -> list[dict[str, Any]]:
    return [{"id": i, "prompt": "Why?", "response": _REPLIES[i // 4 % 3]} for i in range(n)]


def _write(path: Path, table: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path, row_group_size=7)
    else:
        path.write_bytes(as_csv(table) if path.suffix == ".csv" else jsonl(table))
    return path


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_it_is_run_once_in_every_format(kind: str, workers: int, tmp_path: Path) -> None:
    model, seen = _counting()
    source, out = _write(tmp_path / f"in.{kind}", _rows(60)), tmp_path / "out.jsonl"
    do(model, source, out, workers=workers)
    assert len(seen) == len(set(seen)) == 3
    expected = [model.judge_row(row).to_dict() for row in _rows(60)]
    assert [row["demur"] for row in read_jsonl(out)] == expected


def test_it_is_run_once_over_several_files(tmp_path: Path) -> None:
    model, seen = _counting()
    sources = [_write(tmp_path / f"in.{kind}", _rows(20)) for kind in ("jsonl", "csv")]
    do(model, sources, tmp_path / "out.jsonl", workers=2)
    assert len(seen) == 3


def test_what_the_journal_knows_is_not_run_again(tmp_path: Path) -> None:
    table = _rows(30)
    table[20]["response"] = ""
    source, out = _write(tmp_path / "in.jsonl", table), tmp_path / "out.jsonl"
    model, seen = _counting()
    with pytest.raises(TooManyErrorsError):
        do(model, source, out, max_errors=0)
    assert len(seen) == 3
    table = table[21:]
    resumed, again = _counting()
    do(resumed, source, out, resume=True)
    # A text before the death and behind it is run once more: the journal has outcomes, not texts.
    assert len(again) == len({row["response"] for row in table})
    assert [json.loads(line)["id"] for line in out.read_bytes().splitlines()] == list(range(30))
