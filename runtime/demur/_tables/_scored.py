"""The verdict's columns, filled row by row."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from demur._classifier import Classifier
from demur._columns import Columns
from demur._stream import or_error
from demur._verdict import Verdict
from demur.errors import InputError

# Rows that are taken out of a table at a time: few enough to be small as Python objects, many enough that workers
# seldom wait for the last of them.
CHUNK = 1024
SCORE, REFUSAL, TOKENS, ELIDED, ERROR = NAMES = (
    "demur_score",
    "demur_refusal",
    "demur_tokens",
    "demur_elided",
    "demur_error",
)


class Scored:
    """The columns that a table gets, one value a row.

    Attributes:
        score: The probabilities of refusal, float64 `[rows]`; NaN where a row could not be scored.
        refusal: The decisions, bool `[rows]`.
        tokens: Tokens read, int32 `[rows]`.
        elided: Tokens left out, int32 `[rows]`.
        error: Why a row could not be scored, None where it was; the other columns mean nothing where it was not.
    """

    def __init__(self, rows: int) -> None:
        self.score = np.full(rows, np.nan)
        self.refusal = np.zeros(rows, bool)
        self.tokens, self.elided = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
        self.error: list[str | None] = [None] * rows

    def fill(self, at: int, results: Iterable[Verdict | InputError]) -> None:
        """Put results in their places, the first at row `at`."""
        for i, result in enumerate(results, at):
            if isinstance(result, Verdict):
                self.score[i], self.refusal[i] = result.score, result.refusal
                self.tokens[i], self.elided[i] = result.tokens, result.elided
            else:
                self.error[i] = _encodable(str(result))

    @property
    def failed(self) -> "np.ndarray[Any, np.dtype[np.bool_]]":
        """Which rows could not be scored, bool `[rows]`."""
        return np.array([error is not None for error in self.error], bool)

    def lists(self) -> dict[str, list[Any]]:
        """Return the columns as lists, None where there is no value."""
        columns = zip(NAMES, (self.score, self.refusal, self.tokens, self.elided), strict=False)
        nulled = {
            name: [
                None if error is not None else value for value, error in zip(values.tolist(), self.error, strict=True)
            ]
            for name, values in columns
        }
        return {**nulled, ERROR: list(self.error)}


def judge(
    model: Classifier, columns: Columns, cells: Mapping[str, Sequence[Any]], workers: int | None
) -> list[Verdict | InputError]:
    """Return what becomes of some rows, given as columns of plain Python values.

    Args:
        model: The classifier.
        columns: Where their conversations are.
        cells: The values of each column that is wanted.
        workers: Texts at a time; by default the cores that this machine grants.
    """
    read = partial(or_error, columns.conversation)
    rows = [read(dict(zip(cells, row, strict=True))) for row in zip(*cells.values(), strict=True)]
    judged = model.stream((row for row in rows if not isinstance(row, InputError)), workers=workers, errors="return")
    return [row if isinstance(row, InputError) else next(judged) for row in rows]


def _encodable(text: str) -> str:
    # subtle: an error quotes what it found, and a lone surrogate can be in a Python string but not in a table.
    return text.encode("utf-8", "backslashreplace").decode()
