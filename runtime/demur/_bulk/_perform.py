"""One command's work, from opening its files to moving what it wrote into place."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from demur._bulk import _journal, _plan
from demur._bulk._formats import Format
from demur._bulk._job import Job, Report
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
from demur.errors import DataError

# Texts whose logits are remembered, so that a duplicate isn't judged again: 6 MB.
_REMEMBERED = 1 << 18


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
        sinks.append(_plan.sink(opened(place, format).stream, format, job.inputs, job.columns, every))
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
