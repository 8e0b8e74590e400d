"""One line of JSONL in, the same line with its verdict out."""

import json
from typing import Any, Literal, NamedTuple

from demur._classifier import Classifier
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
    number, raw = numbered
    try:
        text, row = _parse(raw)
        try:
            (result, refusals), failed = _verdicts(model, row, turns), False
        except InputError as error:
            result, refusals, failed = _failure(error, number), 0, True
        return Scored(_add(text, row, result), refusals, failed)
    except InputError as error:
        return Scored(_dump({"raw": raw.decode("utf-8", "replace").strip(), _KEY: _failure(error, number)}), 0, True)


def _parse(raw: bytes) -> tuple[str, dict[str, Any]]:
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
        verdict = model.judge_row(row)
        return verdict.to_dict(), int(verdict.refusal)
    replies = [{"turn": i} | verdict.to_dict() for i, verdict in model.judge_replies(row)]
    refusals = sum(reply["refusal"] for reply in replies)
    return {"refusals": refusals, "turns": replies}, refusals


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
