"""Rows written as JSONL, as a JSON array, or as CSV and TSV; what was read as text is kept as it was written."""

import base64
import csv
import datetime
import decimal
import io
import json
from collections.abc import Iterable, Sequence
from typing import IO, Any, Protocol

from demur import _jsonl
from demur._bulk import _csv, _verdict_columns
from demur._bulk._csv import Head, Record
from demur._bulk._lines import Line
from demur._bulk._outcome import Outcome
from demur._bulk._row import Row
from demur.errors import InputError

# Bytes that are written at a time.
_PART = 1 << 20


class Sink(Protocol):
    """What rows are written to."""

    def add(self, row: Row, outcome: Outcome | None) -> bool:
        """Write a row, with what became of it if that is given; return whether it went out with an error."""
        ...

    def close(self) -> None:
        """Write what ends the file; its stream stays open."""
        ...


class JsonLines:
    """One JSON object a line.

    Args:
        stream: Gets the lines.
        several: Whether the rows are from several files, so that an error names its own.
    """

    def __init__(self, stream: IO[bytes], several: bool = False) -> None:
        self._stream, self._several = stream, several

    def add(self, row: Row, outcome: Outcome | None) -> bool:
        pieces, failed = _pieces(row, outcome, self._several)
        _write(self._stream, (*pieces, b"\n"))
        return failed

    def close(self) -> None:
        pass


class JsonArray:
    """An array with one object a line; arguments as for `JsonLines`."""

    def __init__(self, stream: IO[bytes], several: bool = False) -> None:
        self._stream, self._several, self._before = stream, several, b"[\n"

    def add(self, row: Row, outcome: Outcome | None) -> bool:
        pieces, failed = _pieces(row, outcome, self._several)
        _write(self._stream, (self._before, *pieces))
        self._before = b",\n"
        return failed

    def close(self) -> None:
        self._stream.write(b"[]\n" if self._before == b"[\n" else b"\n]\n")


class Csv:
    """CSV or TSV.

    Args:
        stream: Gets the lines.
        head: The first line of the input, or of what is like it; None if the first row's keys are the columns. Then
            there is one more, for keys that the first row lacks, as JSON, and for the text of what is no row at all.
        delimiter: What stands between cells.
        every: Whether outcomes are those of all replies; None if none are written.
    """

    def __init__(self, stream: IO[bytes], head: Head | None, delimiter: str, every: bool | None) -> None:
        self._stream, self._every, self._delimiter = stream, every, delimiter
        self._names: tuple[str, ...] = ()
        self._kept: tuple[str, ...] = ()
        self._added = () if every is None else tuple(_verdict_columns.columns(every))
        self._end = head.end if head else "\n"
        self._more = (_verdict_columns.RAW,) if head is None else ()
        self._begun = head is not None
        if head is not None:
            self._begin(head.names, head.bom)

    def add(self, row: Row, outcome: Outcome | None) -> bool:
        if not self._begun:
            self._begin([name for name in _fields(row) if name not in self._more], "")
        failed = outcome is not None and outcome.error is not None
        added = [] if outcome is None or self._every is None else _cells(_verdict_columns.values(outcome, self._every))
        if isinstance(row, Record) and row.head.delimiter == self._delimiter and row.head.names == self._kept:
            whole = len(row.values) == len(self._kept)
            if whole or not added:
                for piece in _csv.encoded(row.text, _csv.without_break(row.text)):  # a long row isn't copied
                    self._stream.write(piece)
                self._write((self._delimiter if added else "") + self._line(added))
                return failed
        cells, beyond = self._values(row)
        self._write(self._line([*cells, *added, *beyond]))
        return failed

    def close(self) -> None:
        pass

    def _begin(self, names: Sequence[str], bom: str) -> None:
        self._begun = True
        self._names = tuple(names)
        self._kept = tuple(name for name in names if not self._makes_way(name))
        self._write(bom + self._line([*self._kept, *self._added, *self._more]))

    def _makes_way(self, name: str) -> bool:
        return bool(self._added) and _verdict_columns.is_ours(name)

    def _values(self, row: Row) -> tuple[list[str], Sequence[str]]:
        """Return the cells of the row's own columns, and those that it has beyond them."""
        if isinstance(row, Record):
            values = row.values or [row.raw()]  # what can't be taken apart is kept in the first cell
            fields = dict(zip(row.head.names, values, strict=False))
            return [fields.get(name, "") for name in self._kept], values[len(row.head.names) :]
        fields = _fields(row)
        cells = _cells([fields.get(name) for name in self._kept])
        raw = fields.pop(_verdict_columns.RAW, None) if self._more else None
        if raw is not None:
            return cells, _cells([raw])
        unknown = {name: fields[name] for name in fields if name not in self._names and not self._makes_way(name)}
        return cells, [_dump(unknown).decode()] if unknown else [""] * len(self._more)

    def _line(self, cells: Sequence[str]) -> str:
        if not cells:
            return self._end
        text = io.StringIO()
        # subtle: of what ends a line, the module quotes only what it writes itself.
        csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        return text.getvalue().removesuffix("\r\n") + self._end

    def _write(self, text: str) -> None:
        self._stream.write(text.encode("utf-8", "surrogateescape"))


def plain(value: object) -> Any:
    """Return a value of a table in JSON's types: times in ISO 8601, decimals and others as text, bytes in Base64."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return repr(value)


def where(row: Row, several: bool) -> dict[str, Any]:
    """Return what tells where a row is."""
    place = {"line" if isinstance(row, Line) else "row": row.number}
    return {"file": row.file, **place} if several else place


def _pieces(row: Row, outcome: Outcome | None, several: bool) -> tuple[list[bytes | memoryview], bool]:
    if isinstance(row, Line):
        if outcome is None and row.error is None:
            return [_jsonl.compact(row.text)], False
        # Of a line that is too long only the beginning is there, so that it can't go out as it came.
        outcome = outcome or Outcome(error=row.error)
        return _jsonl.encode(row.text, outcome, where(row, several))
    fields = _fields(row, "raw")
    failed = outcome is not None and outcome.error is not None
    if outcome is not None:
        fields = {name: value for name, value in fields.items() if not _verdict_columns.is_ours(name)}
        fields[_jsonl.KEY] = {"error": outcome.error, **where(row, several)} if failed else outcome.to_dict()
    return [_dump(fields)], failed


def _write(stream: IO[bytes], pieces: Iterable[bytes | memoryview]) -> None:
    """Write bytes, of long ones a part at a time, as what packs them makes all of its output at once."""
    for piece in pieces:
        for at in range(0, len(piece), _PART):
            stream.write(piece[at : at + _PART] if len(piece) > _PART else piece)


def _dump(value: object) -> bytes:
    text = json.dumps(value, ensure_ascii=False, default=plain)
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value, default=plain).encode()


def _fields(row: Row, raw: str = _verdict_columns.RAW) -> dict[str, Any]:
    try:
        return dict(row.fields())
    except InputError:
        return {raw: row.raw()}


def _cells(values: Sequence[Any]) -> list[str]:
    return [_cell(value) for value in values]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return _dump(value).decode()
    return str(plain(value)) if not isinstance(value, int | float) else repr(value)
