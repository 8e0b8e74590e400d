"""Where scored rows go: one file for each writing task, moved into place when all are whole."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import pyarrow
from pyarrow import fs
from ray.data import Datasink
from ray.data.block import BlockAccessor

from demur._extras import need
from demur._tables._scored import ERROR, REFUSAL
from demur.errors import DataError

_PARTIAL = ".demur-partial"


class Counts(NamedTuple):
    """What was done.

    Attributes:
        rows: How many rows were written.
        refusals: How many of them are refusals.
        failed: How many could not be scored.
    """

    rows: int
    refusals: int
    failed: int


class Folder(Datasink):  # type: ignore[misc]  # Ray is not there when types are checked
    """A folder of files, `part-000000` and so on in the order of the rows.

    A task that is done again, as its machine has died, writes the same file again.

    Args:
        filesystem: Where the folder is.
        path: The folder; it must not be there, or be empty.
        format: `jsonl`, `csv` or `parquet`.

    Attributes:
        counts: What was done, when all is.
    """

    def __init__(self, filesystem: fs.FileSystem, path: str, format: str) -> None:
        self._filesystem, self._path, self._format = filesystem, path.rstrip("/"), format
        self._partial = self._path + _PARTIAL
        self.counts = Counts(0, 0, 0)
        kind = filesystem.get_file_info(self._path).type
        if kind == fs.FileType.File or (kind == fs.FileType.Directory and self._files(self._path)):
            raise DataError(f"{path}: is there already; name another folder, or remove it")

    def on_write_start(self, schema: Any = None) -> None:
        """Make room: what a run that died has left is removed."""
        if self._filesystem.get_file_info(self._partial).type != fs.FileType.NotFound:
            self._filesystem.delete_dir(self._partial)
        self._filesystem.create_dir(self._partial)

    def write(self, blocks: Iterable[Any], ctx: Any) -> Counts:
        """Write one file, and return its counts."""
        path = f"{self._partial}/part-{ctx.task_idx:06d}.{self._format}"
        counts = Counts(0, 0, 0)
        with ExitStack() as stack:
            writer = None
            for block in blocks:
                table = BlockAccessor.for_block(block).to_arrow()
                if not table.num_rows:
                    continue
                writer = writer or _Writer(stack, self._filesystem, path, self._format, table.schema)
                writer.write(table)
                counts = Counts(*map(sum, zip(counts, _counts(table), strict=True)))
        return counts

    def on_write_complete(self, write_result: Any) -> None:
        """Move all into place."""
        returned = [counts for counts in write_result.write_returns if counts is not None]
        self.counts = Counts(*map(sum, zip(*returned, strict=True))) if returned else self.counts
        if isinstance(self._filesystem, fs.LocalFileSystem):
            if self._filesystem.get_file_info(self._path).type == fs.FileType.Directory:
                self._filesystem.delete_dir(self._path)  # it is empty
            self._filesystem.move(self._partial, self._path)
            return
        self._filesystem.create_dir(self._path)  # subtle: object stores move files, but no folders
        for name in self._files(self._partial):
            self._filesystem.move(f"{self._partial}/{name}", f"{self._path}/{name}")
        self._filesystem.delete_dir(self._partial)

    def _files(self, folder: str) -> list[str]:
        return [info.base_name for info in self._filesystem.get_file_info(fs.FileSelector(folder))]


class _Writer:
    """One file of a format."""

    def __init__(self, stack: ExitStack, filesystem: fs.FileSystem, path: str, format: str, schema: Any) -> None:
        self._schema = schema
        stream = stack.enter_context(filesystem.open_output_stream(path, compression=None))
        if format == "jsonl":
            self._write: Callable[[Any], Any] = partial(_write_lines, stream)
            return
        module = need(f"pyarrow.{format}", "ray", format)
        kind = module.CSVWriter if format == "csv" else module.ParquetWriter
        self._write = stack.enter_context(kind(stream, schema)).write_table

    def write(self, table: Any) -> None:
        """Write the rows of one block."""
        self._write(table if table.schema.equals(self._schema) else table.cast(self._schema))


def _write_lines(stream: Any, table: pyarrow.Table) -> None:
    stream.write(b"".join(line + b"\n" for line in table["line"].to_pylist()))


def _counts(table: pyarrow.Table) -> Counts:
    if REFUSAL in table.column_names:
        failed = table.num_rows - table[ERROR].null_count
        return Counts(table.num_rows, sum(filter(None, table[REFUSAL].to_pylist())), failed)
    return Counts(table.num_rows, sum(table["refusals"].to_pylist()), sum(table["failed"].to_pylist()))
