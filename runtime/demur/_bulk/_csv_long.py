"""Cells of a CSV record of many megabytes.

The `csv` module builds a cell in four bytes for each character, and keeps as much for the next one: 200 MB for 50 MB.
This reads what that module reads, in as much memory as the text itself takes.
"""

from collections.abc import Iterable

# Pieces of a cell, as many as it has doubled quotes, that are put together at a time: each takes 50 bytes more.
_PIECES = 10_000


class LongRecordError(Exception):
    """A record has become too long for the `csv` module."""


def cells(lines: Iterable[str], delimiter: str) -> list[str]:
    """Return the cells of the record that begins with the first of the lines, taking no more of them than it has.

    Args:
        lines: The file's lines from there on, each with its line break.
        delimiter: What stands between two cells.
    """
    record = _Record(delimiter)
    for line in lines:
        if record.ends_with(line):
            return record.cells
    record.end_cell()  # the file ends in a quoted cell
    return record.cells


class _Record:
    """A record of which some lines were read, and maybe the beginning of a quoted cell."""

    def __init__(self, delimiter: str) -> None:
        self.cells: list[str] = []
        self._delimiter, self._quoted = delimiter, False
        self._pieces, self._parts = list[str](), list[str]()

    def ends_with(self, line: str) -> bool:
        """Read the next line; return whether the record ends with it."""
        at, end = 0, len(line) - len(line[-2:]) + len(line[-2:].rstrip("\r\n"))
        while True:
            if not self._quoted:
                self._quoted = line[at : at + 1] == '"'
                at += self._quoted
            if self._quoted:
                at = self._read_quoted(line, at)
                if self._quoted:
                    return False
            # What stands behind a closing quote belongs to the cell as it is, as for the `csv` module.
            stop = line.find(self._delimiter, at, end)
            self._add(line[at : end if stop < 0 else stop])
            self.end_cell()
            if stop < 0:
                return True
            at = stop + 1

    def end_cell(self) -> None:
        """Take what was read as a whole cell."""
        self.cells.append("".join([*self._parts, *self._pieces]))
        self._pieces, self._parts, self._quoted = [], [], False

    def _add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
        if len(self._pieces) > _PIECES:
            self._parts.append("".join(self._pieces))
            self._pieces = []

    def _read_quoted(self, line: str, at: int) -> int:
        """Read on in a quoted cell; return the place behind its closing quote, or the line's end."""
        while (quote := line.find('"', at)) >= 0:
            self._add(line[at:quote])
            at = quote + 1
            if line[at : at + 1] != '"':
                self._quoted = False
                return at
            self._add('"')
            at += 1
        self._add(line[at:])
        return len(line)
