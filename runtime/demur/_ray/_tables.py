"""Parquet and CSV for Ray, read a piece at a time by tasks that hold no CPU."""

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow
import ray
from pyarrow import compute, fs, parquet

from demur._bulk import _csv, _packing
from demur._tables._scored import ERROR, NAMES

# Bytes of Parquet, unpacked, that one task reads, and rows that go on together.
_PIECE, _ROWS = 64 << 20, 1024
# The column of why a row could not be read, on its way to the scorer.
_FAULT = "demur_fault"


def dataset(filesystem: fs.FileSystem, paths: Sequence[str], format: str) -> Any:
    """Return a data set of the rows of some files.

    Ray's own readers hold a CPU each, and wait for one forever where the actors have them all.

    Args:
        filesystem: Where the files are.
        paths: The files.
        format: `parquet`, of which one task reads some row groups, or `csv`, of which it reads a file.
    """
    if format == "parquet":
        pieces = [piece for path in paths for piece in _row_groups(filesystem, path)]
        reader: Any = _Parquet(filesystem)
    else:
        pieces, reader = [{"path": path} for path in paths], _Csv(filesystem)
    # subtle: one block for each piece, as tasks are made of blocks.
    blocks = ray.data.from_items(pieces, override_num_blocks=max(1, len(pieces)))
    return blocks.map_batches(reader, batch_size=1, batch_format="pyarrow", num_cpus=0, concurrency=2)


def _row_groups(filesystem: fs.FileSystem, path: str) -> Iterator[dict[str, Any]]:
    with filesystem.open_input_file(path) as stream:
        facts = parquet.ParquetFile(stream).metadata
        sizes = [facts.row_group(i).total_byte_size for i in range(facts.num_row_groups)]
    first, size = 0, 0
    for i, more in enumerate(sizes):
        if size and size + more > _PIECE:
            yield {"path": path, "first": first, "stop": i}
            first, size = i, 0
        size += more
    yield {"path": path, "first": first, "stop": len(sizes)}


class _Parquet:
    """Reads some row groups."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def __call__(self, batch: Any) -> Iterator[Any]:
        (piece,) = batch.to_pylist()
        with self._filesystem.open_input_file(piece["path"]) as stream:
            file = parquet.ParquetFile(stream)
            for rows in file.iter_batches(_ROWS, row_groups=range(piece["first"], piece["stop"])):
                yield pyarrow.Table.from_batches([rows])


class _Csv:
    """Reads a file as `demur score` does, every column as text, so that it goes out as it came."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def __call__(self, batch: Any) -> Iterator[Any]:
        (piece,) = batch.to_pylist()
        path = piece["path"]
        with _packing.faults(path):
            rows = _csv.records(io.BufferedReader(self._filesystem.open_input_stream(path)), path)
            while part := list(islice(rows, _ROWS)):
                yield _table(part)


class CsvScorer:
    """Scores rows of CSV; what could not be read as a row has its own error.

    Args:
        scorer: Makes what scores a batch, of the other arguments.
        arguments: By position and by name.
    """

    def __init__(self, scorer: Callable[..., Callable[[Any], Any]], *arguments: Any, **named: Any) -> None:
        self._scorer = scorer(*arguments, **named)

    def __call__(self, batch: Any) -> Any:
        """Return a batch with the verdict's columns."""
        table, faults = self._scorer(batch.drop_columns([_FAULT])), batch[_FAULT]
        for name in NAMES:
            column = table[name]
            kept = compute.if_else(faults.is_null(), column, pyarrow.scalar(None, column.type))
            told = compute.coalesce(faults, kept) if name == ERROR else kept
            table = table.set_column(table.column_names.index(name), name, told)
        return table


def _table(rows: Sequence[_csv.Record]) -> Any:
    names = rows[0].head.names
    cells = [[_plain(row, value) for value in row.values[: len(names)]] for row in rows]
    padded = [[*values, *[""] * (len(names) - len(values))] for values in cells]
    columns = dict(zip(names, map(list, zip(*padded, strict=True)), strict=True))
    return pyarrow.table(
        {**columns, _FAULT: pyarrow.array([_fault(row) for row in rows], pyarrow.string())},
        schema=pyarrow.schema([(name, pyarrow.string()) for name in (*names, _FAULT)]),
    )


def _plain(row: _csv.Record, value: str) -> str:
    # subtle: of bytes that are no UTF-8 the csv module makes what no table can hold; only a row with an error has them.
    return value if row.error is None else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _fault(row: _csv.Record) -> str | None:
    """Why a row can't be read, with what it says where its cells don't have it all."""
    whole = 0 < len(row.values) <= len(row.head.names)
    return row.error if row.error is None or whole else f"{row.error}: {row.raw()}"
