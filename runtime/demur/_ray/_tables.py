"""Parquet and CSV for Ray, read a piece at a time by tasks that hold no CPU."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import ray
from pyarrow import csv, fs, parquet

from demur._tables._columns import Columns

# Bytes of Parquet, unpacked, that one task reads, and rows that go on together.
_PIECE, _ROWS = 64 << 20, 1024
# Bytes of CSV that are read at a time, which no row may exceed.
_BLOCK = 1 << 26


def dataset(filesystem: fs.FileSystem, paths: Sequence[str], format: str, columns: Columns) -> Any:
    """Return a data set of the rows of some files.

    Ray's own readers hold a CPU each, and wait for one forever where the actors have them all.

    Args:
        filesystem: Where the files are.
        paths: The files.
        format: `parquet`, of which one task reads some row groups, or `csv`, of which it reads a file.
        columns: Where the conversation is; these columns of CSV are text.
    """
    if format == "parquet":
        pieces = [piece for path in paths for piece in _row_groups(filesystem, path)]
        reader: Any = _Parquet(filesystem)
    else:
        pieces, reader = [{"path": path} for path in paths], _Csv(filesystem, columns)
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
    """Reads a file."""

    def __init__(self, filesystem: fs.FileSystem, columns: Columns) -> None:
        self._filesystem, self._columns = filesystem, columns

    def __call__(self, batch: Any) -> Iterator[Any]:
        (piece,) = batch.to_pylist()
        with self._filesystem.open_input_stream(piece["path"]) as stream:
            yield from map(
                _table,
                csv.open_csv(
                    stream,
                    read_options=csv.ReadOptions(block_size=_BLOCK),
                    parse_options=csv.ParseOptions(newlines_in_values=True),
                    convert_options=csv.ConvertOptions(column_types=self._columns.texts()),
                ),
            )


def _table(rows: Any) -> Any:
    return pyarrow.Table.from_batches([rows])
