"""Rows through a classifier and a route, so that nothing is lost whatever happens."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from demur._bulk._journal import Journal
from demur._bulk._judge import Judge, Judged
from demur._bulk._progress import Progress
from demur._bulk._route import Route, Tally
from demur._bulk._row import Row
from demur._bulk._stop import Stop
from demur.errors import DataError, ResumeError


class TooManyErrorsError(DataError):
    """More rows could not be scored than the caller allows."""


def run(
    judge: Judge,
    rows: Iterator[Row],
    route: Route,
    *,
    progress: Progress,
    stop: Stop,
    journal: Journal | None = None,
    max_errors: int | None = None,
    flush: Callable[[], None] | None = None,
) -> Tally:
    """Judge rows and send them on, until there are no more or the run is asked to end.

    Args:
        judge: Judges them.
        rows: Where they come from.
        route: Where they go, in their order.
        progress: Told how far it is.
        stop: Whether to end.
        journal: Has the outcomes of the first rows and gets those of the others, whatever happens.
        max_errors: How many rows may not be scored before the run ends.
        flush: Called behind each row, so that it goes out before the next one has come.

    Raises:
        TooManyErrorsError: More rows than `max_errors` could not be scored.
        ResumeError: The rows are not those that the journal is about.
        DataError: An output can't be written.
    """
    tally = route.tally
    try:
        for one in _judged(judge, stop.until(rows), route, progress, stop, journal):
            route.add(one.row, one.outcome)
            if journal is not None:
                journal.add(one.outcome, one.mark)
            if flush is not None:
                flush()
            progress.update(tally)
            if max_errors is not None and tally.failed > max_errors:
                raise TooManyErrorsError(f"{tally.failed} rows could not be scored, more than --max-errors allows")
            del one  # subtle: else a long row is held while the next one is read, here and wherever rows pass through
    except BaseException:
        if journal is not None:
            with suppress(DataError):
                journal.commit()
        raise
    if journal is not None:
        journal.commit()
    return tally


def _judged(
    judge: Judge, rows: Iterator[Row], route: Route, progress: Progress, stop: Stop, journal: Journal | None
) -> Iterator[Judged]:
    """Send on the rows whose outcomes are known, and yield the others with theirs."""
    for stored in journal.stored() if journal is not None and journal.rows else ():
        row = next(rows, None)
        if row is None:
            if stop.signal is not None:
                return
            raise ResumeError("there are fewer rows than were scored before, so they have changed; use --restart")
        if row.mark() != stored.mark:
            raise ResumeError(f"{row.file}: row {row.number} is not the one that was scored before; use --restart")
        route.add(row, stored.outcome)
        progress.update(route.tally)
    progress.begin(route.tally)
    yield from judge.rows(rows)
