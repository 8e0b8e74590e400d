"""Rows of Parquet and Arrow files, read a few at a time. With `_arrow_sink.py` the only importer of pyarrow."""

import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demur._bulk._lines import too_long
from demur._bulk._packing import Consumed
from demur._bulk._row import mark
from demur._extras import need
from demur.errors import InputError

# Rows that are read together: so many, or fewer where they are long. Few, as their lengths may be very uneven.
_ROWS, _BYTES = 64, 1 << 20
_BUFFER = 1 << 20


class TableRow(NamedTuple):
    """A row of a record batch.

    Attributes:
        file: The file's name.
        number: The row in the file, from 1.
        batch: The `pyarrow.RecordBatch` that holds it.
        at: Its place in the batch.
        wanted: Columns that a verdict may rest on.
        size: About how many bytes it takes.
        max_bytes: How long the texts of a row may be together.
    """

    file: str
    number: int
    batch: Any
    at: int
    wanted: Sequence[str]
    size: int
    max_bytes: int | None

    def judged(self) -> dict[str, Any]:
        values = {name: self.batch.column(name)[self.at].as_py() for name in self.wanted}
        if self.max_bytes is not None:
            size = _text_bytes(values)
            if size > self.max_bytes:
                raise InputError(too_long(size, self.max_bytes))
        return values

    def fields(self) -> dict[str, Any]:
        row: dict[str, Any] = self.batch.slice(self.at, 1).to_pylist()[0]
        return row

    def raw(self) -> str:
        return repr(self.fields())

    def mark(self) -> int:
        seed = 0
        for name in self.wanted:
            value = self.batch.column(name)[self.at]
            # A text is looked at where it lies: it may be long.
            text = value.as_buffer() if hasattr(value, "as_buffer") else None
            seed = mark(value.as_py(), seed) if text is None else zlib.crc32(text, zlib.crc32(b"s", seed))
        return seed


def spare_memory() -> None:
    """Let pyarrow take memory from the C library, in the whole process.

    Of a row of 50 MB its own allocators keep what they were given, some 50 MB more.

    Raises:
        DataExtraError: pyarrow is not installed.
    """
    pyarrow = need("pyarrow", "data", "a Parquet or Arrow file")
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())


def schema(path: Path, name: str) -> Any:
    """Return the `pyarrow.Schema` of a Parquet or Arrow file.

    Raises:
        DataExtraError: pyarrow is not installed.
    """
    if name == "parquet":
        with need("pyarrow.parquet", "data", "a Parquet file").ParquetFile(path) as file:
            return file.schema_arrow
    with path.open("rb") as stream:
        return _arrow(stream).schema


def rows(
    path: Path,
    file: str,
    name: str,
    wanted: Sequence[str],
    consumed: Consumed,
    max_bytes: int | None = None,
    *,
    alone: bool = False,
) -> Iterator[TableRow]:
    """Yield the rows of a Parquet or Arrow file.

    Args:
        path: The file.
        file: Its name in messages.
        name: `parquet` or `arrow`.
        wanted: Columns that a verdict may rest on.
        consumed: Told how much of the file has been read.
        max_bytes: Rows whose texts are longer have an error.
        alone: Whether to read no other columns.

    Raises:
        DataExtraError: pyarrow is not installed.
    """
    number = 0
    for batch, share in (_parquet_batches if name == "parquet" else _arrow_batches)(path, wanted if alone else None):
        size = batch.nbytes // max(1, batch.num_rows) + 1
        for i in range(batch.num_rows):
            number += 1
            yield TableRow(file, number, batch, i, wanted, size, max_bytes)
        consumed.done += share


def _parquet_batches(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[Any, int]]:
    parquet = need("pyarrow.parquet", "data", "a Parquet file")
    # subtle: without a buffer, and with reading ahead, whole column chunks come into memory; a file of one row group
    # would be there as a whole.
    with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        total, on_disk = max(1, file.metadata.num_rows), path.stat().st_size
        for group in range(file.num_row_groups):
            about = file.metadata.row_group(group)
            each = about.total_byte_size // max(1, about.num_rows) + 1
            batch_size = max(1, min(_ROWS, _BYTES // each))
            for batch in file.iter_batches(batch_size, row_groups=[group], columns=columns, use_threads=False):
                yield batch, on_disk * batch.num_rows // total


def _arrow_batches(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[Any, int]]:
    with path.open("rb") as stream:
        reader = _arrow(stream)
        batches = (
            reader if not hasattr(reader, "get_batch") else map(reader.get_batch, range(reader.num_record_batches))
        )
        before = 0
        for batch in batches:
            share, before = stream.tell() - before, stream.tell()
            for at in range(0, batch.num_rows, _ROWS):
                part = batch.slice(at, _ROWS)
                yield part if columns is None else part.select(columns), share * part.num_rows // batch.num_rows


def _arrow(stream: io.BufferedReader) -> Any:
    """Open an Arrow file (Feather version 2) or stream (as `datasets` saves)."""
    ipc = need("pyarrow", "data", "an Arrow file").ipc
    head = stream.peek(6)[:6]
    return ipc.open_file(stream) if head == b"ARROW1" else ipc.open_stream(stream)


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_text_bytes, value.values()))
    return sum(map(_text_bytes, value)) if isinstance(value, list | tuple) else 0
