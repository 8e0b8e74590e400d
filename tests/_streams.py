"""One stream of JSONL through a classifier, as `demur score -` does it."""

import io
import json
from typing import IO, Any, Literal

from demur import _machine
from demur._bulk._judge import Judge
from demur._bulk._lines import lines
from demur._bulk._packing import Consumed
from demur._bulk._progress import Progress
from demur._bulk._route import Scored, Tally
from demur._bulk._run import run
from demur._bulk._stop import Stop
from demur._bulk._text_sinks import JsonLines
from demur._classifier import Classifier

__all__ = ["GOOD", "Tally", "one", "score", "score_file"]


def score_file(
    model: Classifier, source: IO[bytes], target: IO[bytes], *, workers: int | None, turns: Literal["last", "all"]
) -> Tally:
    """Score every line of `source` into `target`, in order, in bounded memory; blank lines are skipped.

    Args:
        model: The classifier.
        source: JSONL, one conversation a line; closed when it has been read, or when the reading is given up.
        target: Gets one line for each, as soon as it is known.
        workers: Texts at a time; by default the cores that this machine grants. Where texts share runs, as on a GPU,
            lines go out by windows, unless all their replies are judged.
        turns: Whether to judge the last reply of a line or all of them.
    """
    judge = Judge(model, _machine.granted(workers), turns == "all", live=True)
    progress = Progress("none", Consumed(), None)
    rows = lines(source, "standard input")
    return run(judge, rows, Scored(JsonLines(target)), progress=progress, stop=Stop(), flush=target.flush)


def score(model: Classifier, data: bytes, workers: int = 1, turns: Any = "last") -> tuple[list[str], Tally]:
    target = io.BytesIO()
    tally = score_file(model, io.BytesIO(data), target, workers=workers, turns=turns)
    written = target.getvalue().decode()
    assert written == "" or written.endswith("\n")
    return written.split("\n")[:-1], tally


def one(model: Classifier, line: str | bytes, turns: Any = "last") -> tuple[str, dict[str, Any]]:
    """Score one line and return the output line and its `demur` object."""
    lines, _ = score(model, line if isinstance(line, bytes) else line.encode(), turns=turns)
    assert len(lines) == 1
    return lines[0], json.loads(lines[0])["demur"]


GOOD = b'{"prompt": "Q", "response": "A"}'
