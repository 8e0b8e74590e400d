"""`demur score`: a stream of JSONL lines through a classifier."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Literal

from tqdm import tqdm

from demur import _machine
from demur._classifier import Classifier
from demur._jsonl import score_line, score_lines
from demur._stream import in_windows, ordered_map

# Lines that are read before the first of them goes out, where texts share runs.
_WINDOW = 512
# White space and the parts of a byte order mark.
_BLANK = b" \t\r\n\x0b\x0c\xef\xbb\xbf"


@dataclass
class Tally:
    """What was done: lines scored or not, refusals found, lines that could not be scored."""

    lines: int = 0
    refusals: int = 0
    failed: int = 0


def score_file(
    model: Classifier, source: IO[bytes], target: IO[bytes], *, workers: int | None, turns: Literal["last", "all"]
) -> Tally:
    """Score every line of `source` into `target`, in order, in bounded memory; blank lines are skipped.

    Args:
        model: The classifier.
        source: JSONL, one conversation a line; closed when it has been read, or when the reading is given up.
        target: Gets one line for each, as soon as it is known.
        workers: Texts at a time; by default, and at most, the cores that this machine grants. Where texts share
            runs, as on a GPU, lines go out by windows, unless all their replies are judged.
        turns: Whether to judge the last reply of a line or all of them.
    """
    tally = Tally()
    lines, workers = _numbered(source), _machine.granted(workers)
    if model.shares_runs and turns == "last":
        scored = in_windows(partial(score_lines, model, workers), lines, _WINDOW)
    else:
        scored = ordered_map(partial(score_line, model, turns), lines, workers, live=True)
    with tqdm(scored, total=_count(source), unit=" rows", disable=not sys.stderr.isatty(), mininterval=0.5) as progress:
        for line, refusals, failed in progress:
            target.write(line.encode() + b"\n")
            target.flush()
            tally.lines += 1
            tally.refusals += refusals
            tally.failed += failed
            if not progress.disable:
                progress.set_postfix(refusals=tally.refusals, errors=tally.failed, refresh=False)
    return tally


def _numbered(source: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    # subtle: whoever reads the lines closes the file; another thread can't while this one waits for a line.
    with source:
        for number, line in enumerate(source, 1):
            if line.strip(_BLANK):
                yield number, line


def _count(source: IO[bytes]) -> int | None:
    """Count a file's lines for the progress bar; None where there is none to show or the input can't be reread."""
    if not (sys.stderr.isatty() and source.seekable()):
        return None
    at = source.tell()
    lines = sum(1 for line in source if line.strip(_BLANK))
    source.seek(at)
    return lines
