"""JSONL for Ray: files cut into ranges of bytes, lines kept to the byte, verdicts added as `demur score` adds them."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import ray
from pyarrow import fs

from demur import _jsonl
from demur._bulk._judge import Judge
from demur._bulk._lines import BLANK, Line
from demur._columns import Columns
from demur._ray import _actor
from demur._tables._score_table import opened

# Bytes of a file that one task reads, and lines or bytes of them that go on together.
_LEAST, _RANGE = 1 << 16, 64 << 20
_LINES, _BYTES = 1024, 4 << 20
_SCHEMA = pyarrow.schema([("number", pyarrow.int64()), ("line", pyarrow.large_binary())])


def dataset(filesystem: fs.FileSystem, paths: Sequence[str], tasks: int) -> Any:
    """Return a data set of the lines of some files that are not blank, each with its number.

    Args:
        filesystem: Where the files are.
        paths: The files, plain or packed with gzip; those are read by one task each.
        tasks: Into how many ranges to cut them at least, unless these become tiny.
    """
    total = sum(info.size for info in filesystem.get_file_info(list(paths)))
    size = min(_RANGE, max(_LEAST, total // tasks))
    ranges = [one for path in paths for one in _ranges(filesystem, path, size)]
    counted = ray.data.from_items(ranges, override_num_blocks=len(ranges)).map(
        _Count(filesystem), num_cpus=0, concurrency=2
    )
    first, before = 1, ""
    numbered = []
    for one in counted.take_all():
        first = first if one["path"] == before else 1
        numbered.append({**one, "first": first})
        first, before = first + one["lines"], one["path"]
    # subtle: one block for each range, as tasks are made of blocks.
    return ray.data.from_items(numbered, override_num_blocks=len(numbered)).map_batches(
        _Read(filesystem), batch_size=1, batch_format="pyarrow", num_cpus=0, concurrency=2
    )


class LineScorer:
    """Scores lines as `demur score` does; one for each actor.

    Args:
        model: What `RefusalScorer` takes.
        threshold: The score from which a reply counts as a refusal.
        columns: Where the conversations are.
    """

    def __init__(self, model: _actor.Model, threshold: float | str | None, columns: Columns) -> None:
        found, self._home = _actor.found(model)
        self._judge = Judge(opened(found, threshold), _actor.workers(), columns=columns)

    def __call__(self, batch: Any) -> Any:
        """Return the lines with their verdicts, and for each the refusals found and whether it failed."""
        numbered = zip(batch["number"].to_pylist(), batch["line"].to_pylist(), strict=True)
        rows = [Line("", number, line) for number, line in numbered]
        judged = list(self._judge.rows(rows))
        written = [
            _jsonl.encode(row.text, one.outcome, {"line": one.row.number})
            for row, one in zip(rows, judged, strict=True)
        ]
        return pyarrow.table(
            {
                "line": pyarrow.array([b"".join(pieces) for pieces, _ in written], pyarrow.large_binary()),
                "refusals": pyarrow.array([one.outcome.refusals for one in judged], pyarrow.int64()),
                "failed": pyarrow.array([failed for _, failed in written], pyarrow.bool_()),
            }
        )


def _ranges(filesystem: fs.FileSystem, path: str, size: int) -> Iterator[dict[str, Any]]:
    if path.endswith(".gz"):
        yield {"path": path, "start": 0, "stop": -1, "alone": True}
        return
    total = filesystem.get_file_info(path).size
    for start in range(0, max(total, 1), size):
        yield {"path": path, "start": start, "stop": min(start + size, total), "alone": total <= size}


class _Count:
    """Counts the lines of a range, so that the next one knows its first line's number."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def __call__(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "lines": 0 if one["alone"] else sum(1 for _ in _lines(self._filesystem, one))}


class _Read:
    """Reads the lines of a range, some at a time."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def __call__(self, batch: Any) -> Iterator[Any]:
        (one,) = batch.to_pylist()
        numbers: list[int] = []
        lines: list[bytes] = []
        size = 0
        for number, line in enumerate(_lines(self._filesystem, one), one["first"]):
            if not line.strip(BLANK):
                continue
            numbers.append(number)
            lines.append(line)
            size += len(line)
            if len(lines) == _LINES or size >= _BYTES:
                yield pyarrow.table([numbers, lines], schema=_SCHEMA)
                numbers, lines, size = [], [], 0
        yield pyarrow.table([numbers, lines], schema=_SCHEMA)


def _lines(filesystem: fs.FileSystem, one: dict[str, Any]) -> Iterator[bytes]:
    """The lines that begin within a range."""
    if one["stop"] < 0:
        with filesystem.open_input_stream(one["path"], compression="gzip") as stream:
            yield from io.BufferedReader(stream)
        return
    with filesystem.open_input_file(one["path"]) as file, io.BufferedReader(file) as stream:
        at = one["start"]
        if at:
            stream.seek(at - 1)
            at += len(stream.readline()) - 1
        while at < one["stop"] and (line := stream.readline()):
            yield line
            at += len(line)
