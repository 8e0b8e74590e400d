"""What an error of demur's is, and what its message names."""

from collections.abc import Callable

import pytest

from demur import errors


def fault(kind: type[errors.DemurError], act: Callable[[], object]) -> str:
    """Return the message of the error that `act` raises, which is of exactly this kind."""
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


def names(message: str, *parts: object) -> None:
    missing = [part for part in map(str, parts) if part not in message]
    assert not missing, f"{missing} not in {message!r}"
