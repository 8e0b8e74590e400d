"""Scored files, row by row, in bounded memory: whatever `demur score` reads and writes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from demur._bulk import _packing, _sources
from demur._bulk._csv import Record
from demur._bulk._inputs import Input
from demur._bulk._packing import Consumed
from demur._bulk._row import Row
from demur._bulk._tables import TableRow
from demur._bulk._text_sinks import where
from demur._tables._frames import plain
from demur.errors import DataError, InputError


def read(inputs: Sequence[Input], wanted: Collection[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every row of scored files and where it stands, such as `scored.jsonl, line 3`.

    Args:
        inputs: The files.
        wanted: The columns that matter; Parquet and Arrow files are read for no others.

    Raises:
        DataError: A file can't be read, or a line is not a JSON object.
        DataExtraError: A package of the `[data]` extra is needed and not installed.
    """

    def those(_: Input, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in wanted]

    for one in inputs:
        with _packing.faults(one.name):
            batch, table = None, list[Any]()
            for row in _sources.rows(one, those, Consumed(), alone=True):
                place = _place(row)
                if not isinstance(row, TableRow):
                    yield place, _fields(row, place)
                    continue
                if row.batch is not batch:  # a batch at a time is several times faster
                    batch, table = row.batch, plain(row.batch)
                yield place, table[row.at]


def _place(row: Row) -> str:
    return ", ".join([row.file, *(f"{kind} {number}" for kind, number in where(row, False).items())])


def _fields(row: Row, place: str) -> Mapping[str, Any]:
    if isinstance(row, Record) and len(row.values) > len(row.head.names):
        # subtle: a row with too many cells has its verdict in its columns all the same, and those cells behind it.
        return dict(zip(row.head.names, row.values, strict=False))
    try:
        return row.fields()
    except InputError as error:
        raise DataError(f"{place}: {error}") from error
