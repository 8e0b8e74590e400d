"""Rows to outcomes: in order, in parallel, the same text once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from demur._bulk._outcome import Outcome
from demur._bulk._row import Row
from demur._classifier import Classifier
from demur._columns import Columns
from demur._stream import in_windows, ordered_map
from demur._verdict import Verdict
from demur.errors import InputError

# Rows that are read before the first of them goes out, where texts share runs.
_WINDOW = 512


class Judged(NamedTuple):
    """A row and what became of it.

    Attributes:
        row: The row.
        outcome: What became of it.
        mark: The check sum of what it says; 0 where none was asked for.
    """

    row: Row
    outcome: Outcome
    mark: int


@dataclass(frozen=True)
class Judge:
    """Judges rows.

    Attributes:
        model: The classifier.
        workers: Texts at a time.
        every: Whether to judge all replies of a row or the last one.
        columns: Where the conversations are.
        live: Whether rows come one by one and each goes out before the next has come.
        marks: Whether check sums of the rows are wanted.
    """

    model: Classifier
    workers: int
    every: bool = False
    columns: Columns = field(default_factory=Columns)
    live: bool = False
    marks: bool = False

    def rows(self, rows: Iterable[Row]) -> Iterator[Judged]:
        """Yield each row with its outcome, in order, in bounded memory."""
        if self.model.shares_runs and not self.every:
            return in_windows(self._window, rows, _WINDOW)
        return ordered_map(self._one, rows, self.workers, live=self.live, size=lambda row: row.size)

    def _one(self, row: Row) -> Judged:
        return self._judged(row, self._outcome(row))

    def _outcome(self, row: Row) -> Outcome:
        try:
            conversation = self._conversation(row)
            if self.every:
                return Outcome(replies=tuple(self.model.judge_replies(conversation)))
            return Outcome(verdict=self.model.judge_row(conversation))
        except InputError as error:
            return Outcome(error=str(error))

    def _window(self, rows: Sequence[Row]) -> list[Judged]:
        """Judge the last replies of several rows, which share runs."""
        found = [self._read(row) for row in rows]
        readable = [one for one in found if not isinstance(one, InputError)]
        verdicts = self.model.stream(readable, workers=self.workers, errors="return")
        results = [one if isinstance(one, InputError) else next(verdicts) for one in found]
        return list(map(self._judged, rows, map(_outcome, results)))

    def _read(self, row: Row) -> Any:
        try:
            return self._conversation(row)
        except InputError as error:
            return error

    def _conversation(self, row: Row) -> Any:
        return self.columns.conversation(row.judged())

    def _judged(self, row: Row, outcome: Outcome) -> Judged:
        return Judged(row, outcome, row.mark() if self.marks else 0)


def _outcome(result: Verdict | InputError) -> Outcome:
    return Outcome(error=str(result)) if isinstance(result, InputError) else Outcome(verdict=result)
