"""Paths into a row, such as `choices[0].message.content`."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from demur._describe import describe, keys_of
from demur.errors import InputError

# A name, .name, [0], [-1], ['name'] or ["name"]; as in JSONPath (RFC 9535), whose $ at the beginning may be left out.
_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(-?\d+)\]|\[('|")(.*?)\3\]""", re.DOTALL)


@lru_cache(64)
def steps(path: str) -> tuple[str | int, ...]:
    """Split a path into its steps; what can't be read as one, such as `Answer [en]`, is a name as a whole."""
    found: list[str | int] = []
    at = 1 if path.startswith(("$.", "$[")) else 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None or (at == 0 and step[0].startswith(".")):
            return (path,)
        name, index, _, quoted = step.groups()
        found.append(int(index) if index is not None else name if name is not None else quoted)
        at = step.end()
    return tuple(found) or (path,)


def top(path: str) -> str | int:
    """Return the column that a path begins in."""
    return steps(path)[0]


def get(fields: Mapping[str, Any], path: str) -> Any:
    """Return what lies at a path; a column of exactly that name comes first.

    A text on the way is read as JSON.

    Raises:
        InputError: There is nothing there.
    """
    if path in fields:
        return fields[path]
    value: Any = fields
    for step in steps(path):
        if isinstance(value, str):
            value = from_json(value, path)
        try:
            if isinstance(value, Mapping) != isinstance(step, str):
                raise KeyError(step)
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            among = f"among the keys {keys_of(value)}" if isinstance(value, Mapping) else f"in {describe(value)}"
            raise InputError(f"there is no {path}: no {step!r} {among}") from error
    return value


def from_json(text: str, name: str) -> Any:
    """Return what a text says in JSON.

    Raises:
        InputError: It is none; the message calls it `name`.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is a text that is not JSON: {error}") from error
