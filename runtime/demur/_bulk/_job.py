"""What one command is to do, and how it went."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from demur._bulk._formats import Format
from demur._bulk._inputs import Input
from demur._bulk._output import Place
from demur._bulk._route import Tally
from demur._columns import Columns
from demur.errors import DataError, InputError


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        inputs: The files.
        output: Where scored or kept rows go, and in what format.
        rejected: Where a filter sends what it takes out.
        errors: Where rows go that could not be scored, as JSONL.
        drop: What a filter takes out; None if all rows go to the output with their outcomes.
        every: Whether to judge all replies of a row.
        columns: Where the conversations are.
        workers: Texts at a time.
        max_row_bytes: Longer rows are not scored.
        max_errors: How many rows may not be scored before the work ends.
        resume: Whether to go on with an unfinished run.
        restart: Whether to throw an unfinished run away.
        progress: How to show how far it is.
        tell: Gets phrases for the user.
    """

    inputs: Sequence[Input]
    output: tuple[Place, Format]
    rejected: tuple[Place, Format] | None = None
    errors: tuple[Place, Format] | None = None
    drop: Literal["refusals", "answers"] | None = None
    every: bool = False
    columns: Columns = field(default_factory=Columns)
    workers: int = 1
    max_row_bytes: int | None = None
    max_errors: int | None = None
    resume: bool = False
    restart: bool = False
    progress: Literal["bar", "json", "none"] = "bar"
    tell: Callable[[str], None] = print

    @property
    def places(self) -> list[tuple[Place, Format]]:
        """All outputs."""
        return [one for one in (self.output, self.rejected, self.errors) if one is not None]

    @property
    def live(self) -> bool:
        """Whether rows may come one by one, so that each has to go out at once."""
        return any(one.path is None for one in self.inputs)

    @property
    def resumable(self) -> bool:
        """Whether an unfinished run can be gone on with: what is read can be read again, and written anew."""
        return not self.live and all(place.moved for place, _ in self.places)

    def facts(self) -> dict[str, Any]:
        """Return what decides about the output, but for the model, in JSON's types."""
        return {
            "inputs": [{**one.facts(), "format": str(one.format)} for one in self.inputs],
            "outputs": [{"path": str(place.final), "format": str(format)} for place, format in self.places],
            "errors": self.errors is not None,
            "drop": self.drop,
            "turns": "all" if self.every else "last",
            "columns": self.columns.named,
            "max_row_bytes": self.max_row_bytes,
        }


@dataclass(frozen=True)
class Report:
    """How it went.

    Attributes:
        tally: What was done.
        failures: Inputs that could not be read to their end, and why.
        rows: What the rows are called: lines or rows.
        nested: Whether errors are in a field of the object `demur`, not in a column.
        signal: What asked the work to end before it was done, or None.
    """

    tally: Tally
    failures: Sequence[str]
    rows: str
    nested: bool
    signal: int | None = None


def check(job: Job) -> None:
    """Refuse what can't work before anything is loaded or written.

    Raises:
        InputError: An output is one of the inputs, or of the other outputs.
        DataError: An output can't be written where it is to be, or can't be gone on with.
    """
    seen: set[Path | None] = set()
    for place, _ in job.places:
        place.check()
        if any(_reads(one, place.final) for one in job.inputs):
            raise InputError(f"{place.name}: is the input itself; write to another file")
        if place.final in seen:
            raise InputError(f"{place.name}: is given for two outputs; give each a file of its own")
        seen.add(place.final)
    if job.resume and not job.resumable:
        raise DataError("--resume needs inputs and outputs that are files; what comes through a pipe can't be reread")


def _reads(one: Input, path: Path | None) -> bool:
    """Whether an input is this regular file, be it by another name or by redirection."""
    try:
        if path is None or not path.is_file():
            return False
        found = os.fstat(sys.stdin.fileno()) if one.path is None else one.path.stat()
        return os.path.samestat(found, path.stat())
    except (OSError, ValueError):  # an input that vanished, or something in place of standard input that is no file
        return False
