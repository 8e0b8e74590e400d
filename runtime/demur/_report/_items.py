"""What a scored row says: the verdict of each reply that was judged, or why it has none."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from demur._bulk._verdict_columns import PREFIX, columns, is_ours
from demur._jsonl import KEY
from demur.errors import DataError

# The columns that hold verdicts, of the last replies or of all of them, or the object of those that JSON has.
COLUMNS = frozenset({KEY, *columns(False), *columns(True)})
_SCORE, _TURNS = f"{PREFIX}score", f"{PREFIX}turns"
_TRUE, _FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True, slots=True)
class Item:
    """One reply that was judged, or one row that could not be.

    Attributes:
        place: Where it stands, for people.
        row: The row as it was read.
        turn: Its place in the list of messages, where all replies were judged.
        error: Why there is no verdict; the other fields are 0 then.
        score: The probability of refusal.
        refusal: The decision.
        tokens: Tokens read.
        elided: Tokens left out.
        model: The bundle's name, where it is known.
        threshold: The score from which a reply counted as a refusal, where it is known.
    """

    place: str
    row: Mapping[str, Any]
    turn: int | None = None
    error: str | None = None
    score: float = 0.0
    refusal: bool = False
    tokens: int = 0
    elided: int = 0
    model: str | None = None
    threshold: float | None = None


def items(place: str, row: Mapping[str, Any]) -> Iterator[Item]:
    """Yield the replies that were judged in a row; one that could not be scored gives one item.

    Raises:
        DataError: The row was not scored, or what says its score is damaged.
    """
    if isinstance(row.get(KEY), Mapping):
        result = row[KEY]
    elif _SCORE in row or _TURNS in row:
        result = {name.removeprefix(PREFIX): value for name, value in row.items() if is_ours(name)}
    else:
        raise DataError(f"{place}: has neither a {KEY} object nor a {_SCORE} column; run demur score on it first")
    if result.get("error") not in (None, ""):
        yield Item(place, row, error=str(result["error"]))
    elif result.get("turns") not in (None, ""):
        for reply in _turns(place, result):
            if not isinstance(reply, Mapping):
                raise DataError(f"{place}: a reply's verdict is {str(reply)[:60]!r}, expected an object")
            yield _item(place, row, reply, _count(place, reply, "turn"))
    else:
        yield _item(place, row, result, None)


def _turns(place: str, result: Mapping[str, Any]) -> list[Any]:
    """The verdicts of all replies, which CSV has as JSON."""
    turns = result["turns"]
    try:
        turns = json.loads(turns) if isinstance(turns, str) else turns
    except (ValueError, RecursionError) as error:
        raise _damaged(place, result, "turns", "a list") from error
    if not isinstance(turns, list):
        raise _damaged(place, result, "turns", "a list")
    return turns


def _item(place: str, row: Mapping[str, Any], result: Mapping[str, Any], turn: int | None) -> Item:
    model = result.get("model")
    return Item(
        place,
        row,
        turn,
        score=_probability(place, result),
        refusal=_flag(place, result),
        tokens=_count(place, result, "tokens"),
        elided=_count(place, result, "elided"),
        model=model[:80] if isinstance(model, str) else None,
        threshold=_number(result.get("threshold")),
    )


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _probability(place: str, result: Mapping[str, Any]) -> float:
    value = _number(result.get("score"))
    if value is None or not 0 <= value <= 1:
        raise _damaged(place, result, "score", "a number from 0 to 1")
    return value


def _flag(place: str, result: Mapping[str, Any]) -> bool:
    value = str(result.get("refusal")).lower()
    if value not in (*_TRUE, *_FALSE):
        raise _damaged(place, result, "refusal", "true or false")
    return value in _TRUE


def _count(place: str, result: Mapping[str, Any], key: str) -> int:
    value = _number(result.get(key))
    if value is None or not (0 <= value < 2**53 and value == int(value)):
        raise _damaged(place, result, key, "a whole number")
    return int(value)


def _damaged(place: str, result: Mapping[str, Any], key: str, expected: str) -> DataError:
    return DataError(f"{place}: the verdict's {key} is {str(result.get(key))[:60]!r}, expected {expected}")
