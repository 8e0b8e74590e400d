"""One command's work: inputs to outputs, from opening to moving into place."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from demur._bulk import _journal, _plan
from demur._bulk._columns import Columns
from demur._bulk._formats import Format
from demur._bulk._inputs import Input
from demur._bulk._journal import Journal
from demur._bulk._judge import Judge
from demur._bulk._output import Output, Place
from demur._bulk._progress import Progress
from demur._bulk._route import Errors, Filtered, Route, Scored, Tally
from demur._bulk._run import run
from demur._bulk._sources import Sources
from demur._bulk._stop import Stop
from demur._bulk._text_sinks import Sink
from demur._classifier import Classifier
from demur.errors import DataError, InputError

# Texts whose logits are remembered, so that a duplicate isn't judged again: about 10 MB.
_REMEMBERED = 1 << 16


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


def perform(model: Classifier, job: Job, facts: Mapping[str, Any]) -> Report:
    """Do it.

    The outputs are written beside their places and moved there at the end. If the work ends before, the journal
    beside the output has what was found out, as far as inputs and outputs are files.

    Args:
        model: The classifier.
        job: What is to be done.
        facts: What tells this classifier from another, in JSON's types, so that none goes on with another's work.

    Raises:
        DataError: An output can't be written, nothing can be read, or there are too many errors.
        ResumeError: There is an unfinished run that was asked for something else, or has not been mentioned.
    """
    sources = Sources(job.inputs, job.columns, job.max_row_bytes, job.tell)
    sources.check()
    stop = Stop()
    with contextlib.ExitStack() as stack:
        journal = _open_journal(job, facts)
        if journal is not None:
            stack.callback(journal.close)
            stack.enter_context(stop.listen())
        outputs: list[Output] = []
        stack.callback(_each, outputs, Output.abandon)
        sinks: list[Sink] = []
        stack.callback(_give_up, sinks)
        route = _route(job, outputs, sinks)
        judge = Judge(
            model.remembering(_REMEMBERED), job.workers, job.every, job.columns, job.live, journal is not None
        )
        progress = Progress(job.progress, sources.consumed, sources.bytes)
        flush = partial(_each, outputs, Output.flush) if job.live else None
        whole = False
        try:
            tally = run(
                judge, sources.rows(), route, progress=progress, stop=stop, journal=journal,
                max_errors=job.max_errors, flush=flush,
            )  # fmt: skip
            whole = stop.signal is None
        finally:
            progress.close(route.tally, whole=whole)
        if whole:
            _finish(job, sources, tally, outputs, sinks, journal)
    rows = "lines" if all(one.format.name == "jsonl" for one in job.inputs) else "rows"
    return Report(
        tally, sources.failures, rows, job.output[1].name in ("jsonl", "json"), None if whole else stop.signal
    )


def _each(outputs: Sequence[Output], do: Callable[[Output], None]) -> None:
    for output in outputs:
        do(output)


def _open_journal(job: Job, facts: Mapping[str, Any]) -> Journal | None:
    if not job.resumable:
        return None
    path, asked = job.output[0].journal, {**facts, **job.facts()}
    return _journal.resume(path, asked) if job.resume else _journal.begin(path, asked, restart=job.restart)


def _give_up(sinks: Sequence[Sink]) -> None:
    """End what was not ended, so that nothing writes to a closed file when it is collected."""
    for sink in sinks:
        with contextlib.suppress(Exception):
            sink.close()


def _route(job: Job, outputs: list[Output], sinks: list[Sink]) -> Route:
    """Open the outputs and return what sends rows to them; what is opened goes to the lists."""

    def opened(place: Place, format: Format) -> Output:
        outputs.append(Output(place, format))
        return outputs[-1]

    def sink(place: Place, format: Format, every: bool | None) -> Sink:
        sinks.append(_plan.sink(opened(place, format).stream, format, job.inputs, every))
        return sinks[-1]

    errors = Errors(opened(*job.errors).stream, job.columns) if job.errors else None
    if job.drop is None:
        return Scored(sink(*job.output, job.every), errors)
    kept = sink(*job.output, None)
    rejected = sink(*job.rejected, job.every) if job.rejected else None
    return Filtered(kept, rejected, errors, job.drop == "refusals")


def _finish(
    job: Job,
    sources: Sources,
    tally: Tally,
    outputs: list[Output],
    sinks: list[Sink],
    journal: Journal | None,
) -> None:
    if sources.failures and not tally.lines:
        for output in outputs:
            output.abandon()
            if output.place.moved:
                output.place.partial.unlink(missing_ok=True)
        if journal is not None:
            journal.remove()
        raise DataError("no input could be read; nothing was written")
    while sinks:
        sinks.pop(0).close()
    for output in outputs:
        output.finish()
    for output in outputs:
        output.move()
    if journal is not None:
        journal.remove()


def _reads(one: Input, path: Path | None) -> bool:
    """Whether an input is this regular file, be it by another name or by redirection."""
    try:
        if path is None or not path.is_file():
            return False
        found = os.fstat(sys.stdin.fileno()) if one.path is None else one.path.stat()
        return os.path.samestat(found, path.stat())
    except (OSError, ValueError):  # an input that vanished, or something in place of standard input that is no file
        return False
