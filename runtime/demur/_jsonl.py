"""One line of JSONL in, the same line with its verdict out."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from demur._classifier import Classifier
from demur._verdict import Verdict
from demur.errors import InputError

_KEY = "demur"


class Scored(NamedTuple):
    """An output line without its line break, and how it went."""

    line: str
    refusals: int
    failed: bool


def score_line(model: Classifier, turns: Literal["last", "all"], numbered: tuple[int, bytes]) -> Scored:
    """Score one line.

    The input's own text is kept as it is and the `demur` object added at its end, so that numbers, order and
    escapes survive. A line that can't be scored goes out with `"demur": {"error": ..., "line": ...}`; if it is no
    JSON object, its text goes into `"raw"`.

    Args:
        model: The classifier.
        turns: Whether to judge the last reply or all of them.
        numbered: The line's number, from 1, and its bytes.
    """
    return _scored(numbered, _parsed(numbered), lambda row: _verdicts(model, row, turns))


def score_lines(model: Classifier, workers: int, numbered: Sequence[tuple[int, bytes]]) -> list[Scored]:
    """Score the last replies of several lines, which share runs where the classifier's device gains by it.

    Args:
        model: The classifier.
        workers: Texts at a time.
        numbered: The lines' numbers and bytes, as `score_line` takes them.
    """
    parsed = [_parsed(line) for line in numbered]
    rows = [found[1] for found in parsed if not isinstance(found, InputError)]
    judged = model.stream(rows, workers=workers, errors="return")

    def next_verdict(_: dict[str, Any]) -> tuple[dict[str, Any], int]:
        verdict = next(judged)
        if isinstance(verdict, InputError):
            raise verdict
        return _result(verdict)

    return [_scored(line, found, next_verdict) for line, found in zip(numbered, parsed, strict=True)]


def _parsed(numbered: tuple[int, bytes]) -> "_Parsed | InputError":
    try:
        return _parse(numbered[1])
    except InputError as error:
        return error


def _scored(
    numbered: tuple[int, bytes],
    parsed: "_Parsed | InputError",
    judge: Callable[[dict[str, Any]], tuple[dict[str, Any], int]],
) -> Scored:
    """Put a line together: what was parsed, and what `judge` makes of its row, with the number of refusals."""
    number, raw = numbered
    try:
        if isinstance(parsed, InputError):
            raise parsed
        text, row = parsed
        try:
            (result, refusals), failed = judge(row), False
        except InputError as error:
            result, refusals, failed = _failure(error, number), 0, True
        return Scored(_add(text, row, result), refusals, failed)
    except InputError as error:
        return Scored(_dump({"raw": raw.decode("utf-8", "replace").strip(), _KEY: _failure(error, number)}), 0, True)


_Parsed = tuple[str, dict[str, Any]]


def _parse(raw: bytes) -> _Parsed:
    try:
        text = raw.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8: byte {error.object[error.start]:#04x} at position {error.start}") from error
    try:
        row = json.loads(text)
    except RecursionError as error:
        raise InputError("not usable JSON: nested too deeply") from error
    except ValueError as error:
        raise InputError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"a line is a JSON object, this one is a {type(row).__name__}")
    return text, row


def _verdicts(model: Classifier, row: dict[str, Any], turns: Literal["last", "all"]) -> tuple[dict[str, Any], int]:
    if turns == "last":
        return _result(model.judge_row(row))
    replies = [{"turn": i} | verdict.to_dict() for i, verdict in model.judge_replies(row)]
    refusals = sum(reply["refusal"] for reply in replies)
    return {"refusals": refusals, "turns": replies}, refusals


def _result(verdict: Verdict) -> tuple[dict[str, Any], int]:
    return verdict.to_dict(), int(verdict.refusal)


def _failure(error: InputError, number: int) -> dict[str, Any]:
    return {"error": str(error), "line": number}


def _add(text: str, row: dict[str, Any], result: dict[str, Any]) -> str:
    if _KEY in row:  # scored before: the old result makes way, and the object is written anew
        try:
            return _dump({**row, _KEY: result})
        except RecursionError as error:  # subtle: writing takes a little more depth than reading
            raise InputError("not usable JSON: nested too deeply") from error
    comma = ", " if row else ""
    return f'{text[:-1].rstrip()}{comma}"{_KEY}": {_dump(result)}}}'


def _dump(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # subtle: a lone surrogate can be read from an escape but not be written as UTF-8.
    return text if _encodable(text) else json.dumps(value)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
