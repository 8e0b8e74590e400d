"""Which output a row goes to: scored, kept, taken out, or set aside."""

import json
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from demur._bulk._outcome import Outcome
from demur._bulk._row import Row
from demur._bulk._text_sinks import Sink, plain, where
from demur._columns import Columns
from demur._paths import get
from demur.errors import InputError


@dataclass
class Tally:
    """What was done.

    Attributes:
        lines: Rows that were read.
        refusals: Refusals among the replies judged.
        failed: Rows that could not be scored.
        kept: Rows that a filter kept.
        dropped: Rows that a filter took out.
        reason: Why the first of those that could not be scored could not be.
    """

    lines: int = 0
    refusals: int = 0
    failed: int = 0
    kept: int = 0
    dropped: int = 0
    reason: str | None = field(default=None, compare=False)

    def fail(self, outcome: Outcome) -> None:
        """Count a row that could not be scored."""
        self.failed += 1
        self.reason = self.reason or outcome.error


class Route(Protocol):
    """Sends rows to outputs, and counts them."""

    tally: Tally

    def add(self, row: Row, outcome: Outcome) -> None:
        """Send a row on, with what became of it."""
        ...


class Errors:
    """A JSONL file of the rows that could not be scored: where each is, its error, and what it says.

    Args:
        stream: Gets the lines.
        columns: Says which field is a row's name.
    """

    def __init__(self, stream: IO[bytes], columns: Columns) -> None:
        self._stream, self._columns = stream, columns

    def add(self, row: Row, outcome: Outcome) -> None:
        told: dict[str, Any] = {**where(row, True), "error": outcome.error}
        content: dict[str, Any]
        try:
            fields = dict(row.fields())
            if self._columns.id is not None:
                told["id"] = get(fields, self._columns.id)
            content = {"fields": fields}
        except InputError:
            content = {"raw": row.raw()}
        try:
            line = json.dumps(told | content, default=plain)
        except (RecursionError, ValueError):
            line = json.dumps(told | {"raw": row.raw()}, default=plain)
        self._stream.write(line.encode() + b"\n")


class Scored:
    """Every row with its outcome to one output.

    Args:
        sink: The output.
        errors: Gets the rows that could not be scored; without it they go to the output too.
    """

    def __init__(self, sink: Sink, errors: Errors | None = None) -> None:
        self._sink, self._errors, self.tally = sink, errors, Tally()

    def add(self, row: Row, outcome: Outcome) -> None:
        failed = outcome.error is not None
        if failed and self._errors is not None:
            self._errors.add(row, outcome)
        else:
            failed = self._sink.add(row, outcome)
        self.tally.lines += 1
        self.tally.refusals += 0 if failed else outcome.refusals
        if failed:
            self.tally.fail(outcome)


class Filtered:
    """The rows of one kind to one output as they came, the others out, or to another output with their outcomes.

    A row that could not be scored is kept, unless there is a place for errors. Where all replies of a row are judged,
    one refusal makes it a refusal.

    Args:
        kept: The output.
        rejected: Gets what is taken out.
        errors: Gets the rows that could not be scored.
        refusals: Whether refusals are taken out; otherwise all that is no refusal is.
    """

    def __init__(self, kept: Sink, rejected: Sink | None, errors: Errors | None, refusals: bool) -> None:
        self._kept, self._rejected, self._errors, self._refusals = kept, rejected, errors, refusals
        self.tally = Tally()

    def add(self, row: Row, outcome: Outcome) -> None:
        tally = self.tally
        tally.lines += 1
        tally.refusals += outcome.refusals
        failed = outcome.error is not None
        if failed:
            tally.fail(outcome)
        if failed and self._errors is not None:
            self._errors.add(row, outcome)
        elif failed or (outcome.refusals > 0) is not self._refusals:
            self._kept.add(row, None)
            tally.kept += 1
        else:
            tally.dropped += 1
            if self._rejected is not None:
                self._rejected.add(row, outcome)
