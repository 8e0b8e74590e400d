"""Rows of CSV and TSV files, each with the text that it was read from."""

import csv
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NamedTuple

from demur._bulk._csv_long import LongRecordError, cells
from demur._bulk._lines import too_long
from demur.errors import DataError, InputError

# A cell that is longer has most likely lost its closing quote.
_LONGEST = 1 << 28
# Characters of a record that the `csv` module reads.
_SHORT = 1 << 20
# Characters that are encoded at a time.
_PIECE = 1 << 20
_DELIMITERS = ",;|\t"
# What stands for a byte that is not UTF-8 (PEP 383).
_SURROGATE = re.compile("[\udc80-\udcff]")


class Head(NamedTuple):
    """The first line of a file.

    Attributes:
        names: The columns.
        delimiter: What stands between two cells.
        end: How a line ends.
        bom: What stands before the first line: a byte order mark or nothing.
    """

    names: tuple[str, ...]
    delimiter: str
    end: str = "\n"
    bom: str = ""


class Record(NamedTuple):
    """A row of cells.

    Attributes:
        file: The file's name.
        number: The row from 1, the header not counted.
        head: The file's first line.
        values: The cells.
        text: What they were read from, with its line break.
        error: Why it can't be read, if it can't.
    """

    file: str
    number: int
    head: Head
    values: Sequence[str]
    text: str
    error: str | None = None

    @property
    def size(self) -> int:
        return 2 * len(self.text)

    def judged(self) -> dict[str, str]:
        if self.error is not None:
            raise InputError(self.error)
        return self.fields()

    def fields(self) -> dict[str, str]:
        if self.error is not None and not 0 < len(self.values) <= len(self.head.names):
            raise InputError(self.error)
        padded = [*self.values, *[""] * (len(self.head.names) - len(self.values))]
        return dict(zip(self.head.names, padded, strict=False))

    def raw(self) -> str:
        return self.text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def mark(self) -> int:
        found = 0
        for piece in encoded(self.text):
            found = zlib.crc32(piece, found)
        return found


def head(stream: io.BufferedReader, file: str, delimiter: str | None = None) -> Head:
    """Read the first line of a file.

    Args:
        stream: The file, at its beginning.
        file: Its name.
        delimiter: What stands between two cells; by default what is most frequent of comma, semicolon, bar and tab.

    Raises:
        DataError: There are no names of columns, or two are the same.
    """
    return _open(stream, file, delimiter)[0]


def records(
    stream: io.BufferedReader, file: str, delimiter: str | None = None, max_bytes: int | None = None
) -> Iterator[Record]:
    """Yield the rows below the header; blank lines are skipped.

    Args:
        stream: The file; closed at the end.
        file: Its name.
        delimiter: As for `head`.
        max_bytes: Rows that are longer than that have an error.

    Raises:
        DataError: The header can't be used, or a quoted cell has no end.
    """
    with stream, _long_cells():
        first, source = _open(stream, file, delimiter)
        reader = csv.reader(source, delimiter=first.delimiter)
        number = 0
        while True:
            source.taken.clear()
            source.most = _SHORT
            error = None
            try:
                values = next(reader)
            except StopIteration:
                return
            except LongRecordError:
                source.most = _LONGEST
                values = cells(chain(tuple(source.taken), source), first.delimiter)
                reader = csv.reader(source, delimiter=first.delimiter)
            except csv.Error as failure:
                values, error = [], f"not CSV: {failure}"
            text = "".join(source.taken)
            source.taken.clear()
            if error is None and not values:
                continue
            number += 1
            if source.endless:
                raise DataError(f"{file}: row {number} begins a quoted cell that does not end")
            error = error or _fault(values, text, first, max_bytes)
            yield Record(file, number, first, values, text, error)
            del values, text


def encoded(text: str, end: int | None = None) -> Iterator[bytes]:
    """Yield a text up to `end` as the bytes that it was read from, a little at a time."""
    end = len(text) if end is None else end
    for at in range(0, end, _PIECE):
        yield text[at : min(end, at + _PIECE)].encode("utf-8", "surrogateescape")


def without_break(text: str) -> int:
    """Return where a record's text ends without its line break."""
    tail = text[-2:]
    return len(text) - len(tail) + len(tail.rstrip("\r\n"))


class _Lines(Iterator[str]):
    """Lines with their line breaks.

    Attributes:
        taken: Those taken since it was last emptied.
        endless: Whether they became too many, and the rest was held back.
        most: Characters that may be taken.

    Raises:
        LongRecordError: More than `most` were taken.
    """

    def __init__(self, stream: io.BufferedReader) -> None:
        # Bytes that are no UTF-8 go out as they came in.
        self._text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
        self.taken: list[str] = []
        self.endless = False
        self.most = _LONGEST
        self._held = 0

    def __next__(self) -> str:
        line = self._text.readline(_LONGEST + 1)
        if not line:
            raise StopIteration
        self._held = self._held + len(line) if self.taken else len(line)
        if self._held > _LONGEST:
            self.endless = True
            raise StopIteration
        self.taken.append(line)
        if self._held > self.most:
            raise LongRecordError
        return line


def _open(stream: io.BufferedReader, file: str, delimiter: str | None) -> tuple[Head, _Lines]:
    source = _Lines(stream)
    line = next(source, "")
    bom = "\ufeff" if line.startswith("\ufeff") else ""
    line = line.removeprefix("\ufeff")
    if delimiter is None:
        delimiter = max(_DELIMITERS, key=line.count)
    # subtle: a name may have a line break in it, so the header may go on.
    names = next(csv.reader(_chain(line, source), delimiter=delimiter), [])
    if not any(names):
        raise DataError(f"{file}: has no first line with the names of the columns")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{file}: two columns are called {min(twice)!r}; give each a name of its own")
    last = source.taken[-1]
    end = "\r\n" if last.endswith("\r\n") else "\r" if last.endswith("\r") else "\n"
    return Head(tuple(names), delimiter, end, bom), source


def _chain(line: str, source: _Lines) -> Iterator[str]:
    yield line
    yield from source


def _fault(values: Sequence[str], text: str, first: Head, max_bytes: int | None) -> str | None:
    if len(values) != len(first.names):
        return f"the row has {len(values)} cells, the header {len(first.names)}"
    if max_bytes is not None and len(text) > max_bytes // 4:
        size = sum(map(len, encoded(text)))
        if size > max_bytes:
            return too_long(size, max_bytes)
    if text.isascii() or _SURROGATE.search(text) is None:
        return None
    return "not UTF-8; convert the file (iconv -f CP1252 -t UTF-8)"


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length, which it has one limit for in the whole process."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
