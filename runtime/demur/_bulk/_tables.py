"""Rows of Parquet and Arrow files, one by one."""

import io
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from demur._bulk import _parquet
from demur._bulk._lines import too_long
from demur._bulk._packing import Consumed
from demur._bulk._row import mark
from demur._extras import need
from demur.errors import InputError

# Where a text begins and ends, in Arrow's layout of the types that hold them one after the other.
_OFFSETS = {"string": struct.Struct("<ii"), "large_string": struct.Struct("<qq")}


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
        values = {name: self._value(name) for name in self.wanted}
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
            text = _text(self.batch.column(name), self.at)
            if text is not None:
                seed = zlib.crc32(text, zlib.crc32(b"s", seed))
            else:
                seed = mark(self.batch.column(name)[self.at].as_py(), seed)
        return seed

    def _value(self, name: str) -> Any:
        column = self.batch.column(name)
        text = _text(column, self.at)
        if text is None:
            return column[self.at].as_py()
        try:
            return str(text, "utf-8")
        except UnicodeDecodeError as error:
            at = error.start
            raise InputError(f"not UTF-8: byte {text[at]:#04x} at position {at} of the column {name!r}") from error


def spare_memory() -> None:
    """Let pyarrow take memory from the C library, in the whole process.

    Of a row of 50 MB its own allocators keep what they were given, some 150 MB more.

    Raises:
        DataExtraError: pyarrow is not installed.
    """
    # subtle: readers of Parquet take memory from a pool that can only be named before pyarrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
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
    for batch, share in (_parquet.batches if name == "parquet" else _arrow_batches)(path, wanted if alone else None):
        size = batch.nbytes // max(1, batch.num_rows) + 1
        for i in range(batch.num_rows):
            number += 1
            yield TableRow(file, number, batch, i, wanted, size, max_bytes)
        consumed.done += share
        del batch  # subtle: else two are held while the next one is read


def _arrow_batches(path: Path, columns: Sequence[str] | None) -> Iterator[tuple[Any, int]]:
    with path.open("rb") as stream:
        reader = _arrow(stream)
        batches = (
            reader if not hasattr(reader, "get_batch") else map(reader.get_batch, range(reader.num_record_batches))
        )
        before = 0
        for batch in batches:
            share, before = stream.tell() - before, stream.tell()
            for at in range(0, batch.num_rows, _parquet.ROWS):
                part = batch.slice(at, _parquet.ROWS)
                yield part if columns is None else part.select(columns), share * part.num_rows // batch.num_rows


def _arrow(stream: io.BufferedReader) -> Any:
    """Open an Arrow file (Feather version 2) or stream (as `datasets` saves)."""
    ipc = need("pyarrow", "data", "an Arrow file").ipc
    head = stream.peek(6)[:6]
    return ipc.open_file(stream) if head == b"ARROW1" else ipc.open_stream(stream)


def _text(column: Any, at: int) -> memoryview | None:
    """Return a text where it lies, as UTF-8; None for nulls and other types. A cell would hold a copy of it."""
    offsets = _OFFSETS.get(str(column.type))
    if offsets is None or column.slice(at, 1).null_count:
        return None
    _, places, content = column.buffers()
    start, end = offsets.unpack_from(places, (column.offset + at) * offsets.size // 2)
    return memoryview(content or b"").cast("B")[start:end]


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        return sum(map(_text_bytes, value.values()))
    return sum(map(_text_bytes, value)) if isinstance(value, list | tuple) else 0
