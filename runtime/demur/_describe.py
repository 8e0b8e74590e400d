"""What was found in place of what was expected, for messages."""

import reprlib
from collections.abc import Mapping
from itertools import islice
from typing import Any


def describe(value: object) -> str:
    """Return a value's type and the beginning of the value; None is called null, as the files call it."""
    if value is None or (isinstance(value, str) and not value):
        return "null" if value is None else "an empty text"
    return f"{type(value).__name__} {shorten(value)}"


def keys_of(row: Mapping[Any, Any]) -> str:
    """Return the first keys of an object."""
    names = [shorten(key) if not isinstance(key, str) else key[:30] for key in islice(row, 9)]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "(none)"


def shorten(value: object) -> str:
    """Return the beginning of a value as Python writes it."""
    try:
        # subtle: a value from a file may be too deep or its number too long for `repr`.
        text = reprlib.repr(value)
    except ValueError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."
