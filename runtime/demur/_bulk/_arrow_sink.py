"""Rows written as Parquet or Arrow: those of a table in its own types, others in types that are found out."""

import io
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from demur._bulk import _verdict_columns
from demur._bulk._arrow_array import array
from demur._bulk._outcome import Outcome
from demur._bulk._row import Row
from demur._bulk._tables import TableRow
from demur._bulk._verdict_columns import RAW
from demur._extras import need
from demur.errors import DataError, InputError

# A row group is written when its rows take so many bytes, or are so many.
_BYTES, _ROWS = 1 << 24, 1 << 14
# Outcomes that become columns together: as objects, those of a whole row group take 80 MB.
_TOGETHER = 1 << 10


class Table:
    """A Parquet or Arrow file.

    Args:
        stream: Gets its bytes.
        name: `parquet` or `arrow`.
        schema: The `pyarrow.Schema` of the rows that come; None if it is to be found out from the first row group.
        every: Whether outcomes are those of all replies; None if none are written.
        codec: How Parquet's pages are compressed.
        texts: Columns that hold conversations. Of these Parquet gets no dictionaries and no least and greatest values,
            which would be of no use, and each a copy of the longest text.
    """

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        schema: Any,
        every: bool | None,
        codec: str | None = None,
        texts: Collection[str] = (),
    ) -> None:
        self._pa = need("pyarrow", "data", f"{name.capitalize()} output")
        self._stream, self._name, self._every, self._codec = stream, name, every, codec or "snappy"
        self._file = _file(self._pa, stream) if name == "parquet" else None
        self._texts = texts
        self._types = _types(self._pa, every)
        self._schema: Any = None if schema is None else self._without_ours(schema)
        self._parts: list[Any] = []
        self._rows: list[dict[str, Any]] = []
        self._outcomes: list[Outcome | None] = []
        self._columns: list[Any] = []
        self._held = self._bytes = 0
        self._writer: Any = None
        self._last: Any = None
        if self._schema is not None:
            self._open()

    def add(self, row: Row, outcome: Outcome | None) -> bool:
        if isinstance(row, TableRow):
            self._slice(row)
        else:
            self._rows.append(self._fields(row))
        self._bytes += row.size
        self._held += 1
        self._outcomes.append(outcome)
        if len(self._outcomes) >= _TOGETHER:
            self._gather()
        if self._bytes >= _BYTES or self._held >= _ROWS:
            self._flush()
        return outcome is not None and outcome.error is not None

    def close(self) -> None:
        self._flush()
        if self._writer is None:
            self._schema = self._pa.schema([])
            self._open()
        with self._faults():
            self._writer.close()
            if self._file is not None:
                self._file.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self._file is None or isinstance(error, BrokenPipeError):
                raise
            fault = os.strerror(error.errno) if error.errno else error
            raise DataError(f"{os.fsdecode(self._stream.name)}: {fault}") from error

    def _slice(self, row: TableRow) -> None:
        """Add a row of a batch to what is to be written: to the slice that ends before it, if there is one."""
        if self._parts:
            batch, start, end = self._parts[-1]
            if batch is row.batch and end == row.at:
                self._parts[-1] = (batch, start, end + 1)
                return
        self._parts.append((row.batch, row.at, row.at + 1))

    def _fields(self, row: Row) -> dict[str, Any]:
        try:
            return {name: value for name, value in row.fields().items() if not self._ours(name)}
        except InputError:
            return {RAW: row.raw()}

    def _gather(self) -> None:
        """Make columns of the outcomes held."""
        if self._every is not None:
            rows = [_verdict_columns.values(outcome or Outcome(), self._every) for outcome in self._outcomes]
            columns = zip(self._types.values(), zip(*rows, strict=True), strict=True)
            self._columns.append([array(column, kind) for kind, column in columns])
        self._outcomes = []

    def _flush(self) -> None:
        if not self._held:
            return
        if self._outcomes:
            self._gather()
        table = self._table()
        for (name, kind), parts in zip(self._types.items(), zip(*self._columns, strict=True), strict=True):
            table = table.append_column(self._pa.field(name, kind), self._pa.chunked_array(parts, kind))
        if self._last is not None:
            # subtle: an Arrow file takes a dictionary that grows, not one that is replaced.
            table = self._pa.concat_tables([self._last, table])
        table = table.unify_dictionaries()
        self._last = table.slice(0, 0) if self._name == "arrow" else None
        with self._faults():
            if self._name == "parquet":
                self._writer.write_table(table, row_group_size=len(table))
            else:
                self._writer.write_table(table)
        self._parts, self._rows, self._columns, self._held, self._bytes = [], [], [], 0, 0

    def _table(self) -> Any:
        """Return the rows held, without their outcomes."""
        if self._parts:
            slices = [batch.slice(start, end - start) for batch, start, end in self._parts]
            names = self._schema.names
            return self._pa.Table.from_batches([one.select(names) for one in slices], self._schema)
        try:
            if self._schema is None:
                self._schema = self._found(self._inferred().schema)
                self._open()
            known = set(self._schema.names)
            unknown = next((name for row in self._rows for name in row if name not in known), None)
            if unknown is not None:
                raise DataError(f"a row has the key {unknown!r}, which the first ones lack")
            return self._pa.Table.from_pylist(self._rows, self._schema)
        except (DataError, self._pa.ArrowException, TypeError, OverflowError) as error:
            raise DataError(f"these rows don't make a table: {error}; write JSONL instead") from error

    def _inferred(self) -> Any:
        """Return the rows held as a table of the types that pyarrow finds in them."""
        columns = {}
        for name in {name: None for row in self._rows for name in row}:
            try:
                columns[name] = self._pa.array([row.get(name) for row in self._rows])
            except (self._pa.ArrowException, TypeError, OverflowError) as error:
                raise DataError(f"the column {name!r} has values of several types ({error})") from error
        return self._pa.table(columns)

    def _found(self, schema: Any) -> Any:
        """Return the schema of rows that have none: columns of nothing but nulls are taken for text."""
        pa = self._pa
        fields = [pa.field(f.name, pa.string()) if pa.types.is_null(f.type) else f for f in schema]
        if RAW not in schema.names:
            fields.append(pa.field(RAW, pa.string()))
        return pa.schema(fields)

    def _open(self) -> None:
        schema = self._schema
        for name, kind in self._types.items():
            schema = schema.append(self._pa.field(name, kind))
        if self._name == "parquet":
            parquet = need("pyarrow.parquet", "data", "Parquet output")
            others = [leaf for leaf in _leaves(parquet, schema) if leaf.partition(".")[0] not in self._texts]
            target = self._stream if self._file is None else self._file
            self._writer = parquet.ParquetWriter(
                target,
                schema,
                compression=self._codec,
                use_dictionary=others,
                write_statistics=others,
            )
        else:
            options = self._pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
            self._writer = self._pa.ipc.new_file(self._stream, schema, options=options)

    def _without_ours(self, schema: Any) -> Any:
        kept = [field for field in schema if not self._ours(field.name)]
        return self._pa.schema(kept, metadata=schema.metadata)

    def _ours(self, name: str) -> bool:
        return self._every is not None and _verdict_columns.is_ours(name)


def _file(pa: Any, stream: IO[bytes]) -> Any:
    """Return pyarrow's own way into a regular file that is open and empty, None for anything else.

    To a Python stream it gives each page as a copy, of a text of 50 MB another 50.
    """
    name = getattr(stream, "name", None)
    return pa.OSFile(os.fsdecode(name), "wb") if isinstance(name, str | Path) and os.path.isfile(name) else None


def _leaves(parquet: Any, schema: Any) -> list[str]:
    """Return the paths of Parquet's columns, of which a nested one of Arrow's makes several."""
    empty = io.BytesIO()
    parquet.ParquetWriter(empty, schema).close()
    columns = parquet.ParquetFile(empty).schema
    return [columns.column(i).path for i in range(len(columns))]


def text_schema(names: Sequence[str]) -> Any:
    """Return the schema of a table of texts, and of rows that can't be taken apart."""
    pa = need("pyarrow", "data", "Parquet or Arrow output")
    return pa.schema([(name, pa.string()) for name in dict.fromkeys([*names, RAW])])


def codec(path: Any) -> str | None:
    """Return how the pages of a Parquet file are compressed; None where that can't be known."""
    parquet = need("pyarrow.parquet", "data", "a Parquet file")
    metadata = parquet.read_metadata(path)
    if not (metadata.num_row_groups and metadata.num_columns):
        return None
    found: str = metadata.row_group(0).column(0).compression
    return "none" if found == "UNCOMPRESSED" else found.lower()


def _types(pa: Any, every: bool | None) -> dict[str, Any]:
    if every is None:
        return {}
    known = {"bool": pa.bool_(), "double": pa.float64(), "string": pa.string(), "int64": pa.int64()}
    turns = pa.list_(pa.struct([(name, known[kind]) for name, kind in _verdict_columns.turn().items()]))
    return {name: known.get(kind, turns) for name, kind in _verdict_columns.columns(every).items()}
