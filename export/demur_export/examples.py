"""Published examples, run through a finished bundle: expected beside found."""

import json
from dataclasses import dataclass
from pathlib import Path

import demur
from demur._conversation import Conversation
from demur._shapes import from_row
from demur._verdict import probability
from demur.errors import CheckpointError, InputError

# Cards print scores with two or three digits, of inputs that may differ from the conversation in white space.
_TOLERANCE = 0.02
_KEYS = ("expected", "score", "tolerance")


@dataclass(frozen=True)
class Example:
    """A conversation and what a bundle should say of it.

    Attributes:
        line: Its line in the file.
        conversation: What is judged.
        expected: The label.
        score: The probability of that label; None where only the label counts.
        tolerance: By how much the probability may differ.
    """

    line: int
    conversation: Conversation
    expected: str
    score: float | None
    tolerance: float


@dataclass(frozen=True)
class Outcome:
    """What a bundle said of an example."""

    example: Example
    label: str
    score: float  # of the expected label

    @property
    def met(self) -> bool:
        """Whether label and score are as expected."""
        wanted = self.example
        if self.label != wanted.expected:
            return False
        # subtle: 0.9 and 0.88 are 0.02 apart for whoever wrote them down, and a little more in binary.
        return wanted.score is None or abs(self.score - wanted.score) <= wanted.tolerance + 1e-9


def read(path: Path, labels: tuple[str, ...]) -> list[Example]:
    """Return the examples of a JSONL file.

    Args:
        path: The file. Each line is a conversation in any shape that `demur score` takes, with `expected` and, if
            wanted, `score` and `tolerance`.
        labels: The model's own.

    Raises:
        CheckpointError: The file can't be used; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_example(number, line, labels))
            except (ValueError, RecursionError) as error:  # JSON's errors and InputError are ValueErrors
                raise CheckpointError(f"{path}, line {number}: {error}") from error
    if not found:
        raise CheckpointError(f"{path}: no examples; expected one conversation a line")
    return found


def run(bundle: Path, examples: list[Example]) -> list[Outcome]:
    """Return what a bundle says of the examples."""
    model = demur.load(bundle)
    outcomes = []
    for example in examples:
        verdict = model.judge_row(example.conversation)
        at = model.labels.index(example.expected)
        outcomes.append(Outcome(example, verdict.label, probability(verdict.logits, at)))
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """Return expected and found, one line for each example, as plain text in columns."""
    rows = [("line", "expected", "score", "within", "found", "score", "")]
    for one in outcomes:
        wanted = one.example
        score, tolerance = ("", "") if wanted.score is None else (f"{wanted.score:.4f}", f"{wanted.tolerance:g}")
        met = "" if one.met else "missed"
        rows.append((str(wanted.line), wanted.expected, score, tolerance, one.label, f"{one.score:.4f}", met))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    missed = sum(not one.met for one in outcomes)
    return "\n".join([*lines, f"{len(outcomes) - missed} of {len(outcomes)} examples as expected"])


def _example(number: int, line: str, labels: tuple[str, ...]) -> Example:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise InputError("expected an object")
    expected, score, tolerance = (row.get(key) for key in _KEYS)
    if expected not in labels:
        raise InputError(f"expected is {expected!r}; the model's labels are {', '.join(map(repr, labels))}")
    conversation = from_row({key: value for key, value in row.items() if key not in _KEYS})
    if conversation.rendered is None:
        conversation.last()
    given = _TOLERANCE if tolerance is None else _number("tolerance", tolerance)
    return Example(number, conversation, expected, None if score is None else _number("score", score), given)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{key} is {value!r}, expected a number from 0 to 1")
    return float(value)
