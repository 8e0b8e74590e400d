"""All inputs as one sequence of rows; what can't be read of one doesn't stop the others."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from demur._bulk import _csv, _formats, _lines, _packing, _tables
from demur._bulk._inputs import Input
from demur._bulk._packing import Consumed
from demur._bulk._row import Row
from demur._columns import Columns
from demur.errors import DataError, DataExtraError


@dataclass
class Sources:
    """The rows of several files, one after the other.

    Attributes:
        inputs: The files.
        columns: Where their conversations are.
        max_row_bytes: Longer rows have an error in place of a verdict.
        tell: Gets the phrases that the user should see.
        consumed: How much has been read.
        failures: What could not be read to its end, and why.
    """

    inputs: Sequence[Input]
    columns: Columns = field(default_factory=Columns)
    max_row_bytes: int | None = None
    tell: Callable[[str], None] = print
    consumed: Consumed = field(default_factory=Consumed)
    failures: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int | None:
        """How many bytes there are to read; None if that can't be known."""
        if any(one.path is None for one in self.inputs):
            return None
        total = 0
        for one in self.inputs:
            with suppress(OSError):
                total += os.stat(one.path or "").st_size
        return total

    def check(self) -> None:
        """Tell where the conversations are, and refuse what would fail after hours.

        Raises:
            DataError: A table's columns hold no known conversation, or an input needs a package that isn't there.
        """
        told = set()
        for one in self.inputs:
            try:
                names = column_names(one)
            except DataExtraError:
                raise
            except DataError:  # it is told when its turn has come
                continue
            if names is None and self.columns.given:
                phrase = ", ".join(f"{part} from {path}" for part, path in self.columns.named.items())
            elif names is None:
                continue  # JSON objects may have another shape in each row
            else:
                self._wanted(one, names)
                phrase = self.columns.told(names)
            if phrase not in told:
                told.add(phrase)
                self.tell(f"{one.name}: {one.format}, {phrase}")

    def rows(self) -> Iterator[Row]:
        """Yield every row that can be read.

        What can't be read, from its first fault on, is left out, told, and noted in `failures`.
        """
        for one in self.inputs:
            count = 0
            try:
                with _packing.faults(one.name):
                    for row in rows(one, self._wanted, self.consumed, self.max_row_bytes):
                        yield row
                        count += 1
                        del row
            except DataExtraError:
                raise
            except DataError as error:
                kept = f"; the {count} rows before that are kept" if count else ""
                self.failures.append(str(error))
                self.tell(f"{error}{kept}")

    def _wanted(self, one: Input, names: Sequence[str]) -> list[str]:
        try:
            return self.columns.wanted(names)
        except DataError as error:
            raise DataError(f"{one.name}: {error}") from error


def rows(
    one: Input,
    wanted: Callable[[Input, Sequence[str]], Sequence[str]],
    consumed: Consumed,
    max_row_bytes: int | None = None,
    *,
    alone: bool = False,
) -> Iterator[Row]:
    """Yield the rows of one file.

    Args:
        one: The file.
        wanted: Says which of the columns of a Parquet or Arrow file `Row.judged` is to return.
        consumed: Told how much has been read.
        max_row_bytes: Longer rows have an error.
        alone: Whether to read no other columns of such a file.

    Raises:
        DataError: It can't be read, or what `wanted` raises. What unpacking and reading raise is left to
            `_packing.faults`.
    """
    name, packing = one.format
    if one.path is not None and name in _formats.COLUMNAR:
        columns = wanted(one, column_names(one) or [])
        yield from _tables.rows(one.path, one.name, name, columns, consumed, max_row_bytes, alone=alone)
        return
    if one.path is None:
        stream: IO[bytes] = _standard_input()
        if (name, packing) == ("jsonl", ""):
            yield from _lines.lines(stream, one.name, max_row_bytes)
            return
        opened = _packing.unpacked(stream, packing, consumed)
    else:
        opened = _packing.open_input(one.path, packing, consumed)
    if name == "jsonl":
        yield from _lines.lines(opened, one.name, max_row_bytes)
    elif name == "json":
        yield from _lines.elements(opened, one.name, max_row_bytes)
    else:
        yield from _csv.records(opened, one.name, delimiter_of(name), max_row_bytes)


def column_names(one: Input) -> list[str] | None:
    """Return the names of a table's columns; None for what is no table, or can be read only once.

    Raises:
        DataError: They can't be read.
    """
    name, packing = one.format
    if one.path is None or name in ("jsonl", "json"):
        return None
    with _packing.faults(one.name):
        if name in _formats.COLUMNAR:
            return list(_tables.schema(one.path, name).names)
        with _packing.open_input(one.path, packing, Consumed()) as opened:
            return list(_csv.head(opened, one.name, delimiter_of(name)).names)


def delimiter_of(name: str) -> str | None:
    """Return what stands between the cells of a format, if it says so."""
    return "\t" if name == "tsv" else None


def _standard_input() -> IO[bytes]:
    """Standard input as a file of its own.

    A thread may still wait for its next line when the program ends, and Python can't end while one holds the lock
    of `sys.stdin`.
    """
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except (OSError, ValueError):
        return sys.stdin.buffer
