"""A verdict as columns of a table.

Flat columns and not one nested: CSV has no nested ones, queries and other programs filter by flat ones, and a table
has the same names in every format.
"""

from typing import Any

from demur._bulk._outcome import Outcome

PREFIX = "demur_"
# The key that JSON has them all under.
OBJECT = "demur"
# Names and types, without the prefix. What is the same in each row is there too, so that a table says what judged it.
_LAST = {
    "refusal": "bool",
    "score": "double",
    "label": "string",
    "threshold": "double",
    "model": "string",
    "tokens": "int64",
    "elided": "int64",
    "error": "string",
}
_ALL = {"refusals": "int64", "turns": "turns", "error": "string"}
_TURN = {"turn": "int64"} | {name: kind for name, kind in _LAST.items() if name != "error"}
# The text of a line that is no JSON object, where objects become the rows of a table.
RAW = "demur_raw"


def columns(every: bool) -> dict[str, str]:
    """Return the names and types of the columns that hold outcomes.

    Args:
        every: Whether all replies are judged; then `demur_turns` is a list of one record for each.
    """
    return {PREFIX + name: kind for name, kind in (_ALL if every else _LAST).items()}


def turn() -> dict[str, str]:
    """Return the names and types of the fields of `demur_turns`."""
    return dict(_TURN)


def is_ours(name: str) -> bool:
    """Whether a column, or a key of an object, holds an earlier outcome, which makes way for the new one."""
    return name == OBJECT or name in columns(False) or name in columns(True)


def values(outcome: Outcome, every: bool) -> list[Any]:
    """Return the values of `columns` for one row."""
    if every:
        turns = outcome.replies
        told = [{"turn": i} | {name: getattr(v, name) for name in _TURN if name != "turn"} for i, v in turns or ()]
        scored = outcome.error is None
        return [outcome.refusals if scored else None, told if scored else None, outcome.error]
    verdict = outcome.verdict
    return [None if verdict is None else getattr(verdict, name) for name in _LAST if name != "error"] + [outcome.error]
