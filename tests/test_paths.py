"""A path leads to what lies in a row, whatever its steps are called."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._paths import get, steps, top
from demur.errors import InputError

_NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters=".[]'\"$"), min_size=1)
_STEPS = st.tuples(_NAMES, st.lists(_NAMES | st.integers(-99, 99), max_size=5))
_VALUES = st.recursive(
    st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(_STEPS, st.booleans())
def test_a_path_is_split_into_its_steps(found: tuple[str, list[str | int]], dollar: bool) -> None:
    first, others = found
    written = ("$." if dollar else "") + first
    written += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in others)
    assert steps(written) == (first, *others)
    assert top(written) == first


@given(_STEPS)
def test_what_lies_at_a_path_is_found(found: tuple[str, list[str | int]]) -> None:
    first, others = found
    value: Any = "found"
    for step in reversed(others):
        value = {step: value} if isinstance(step, str) else [value]
    path = first + "".join(f'["{step}"]' if isinstance(step, str) else "[-1]" for step in others)
    assert get({first: value}, path) == "found"


@given(st.text(min_size=1))
def test_any_text_is_a_path_or_a_name(text: str) -> None:
    assert steps(text)
    assert get({text: "found"}, text) == "found"


@given(st.text(min_size=1), _VALUES)
def test_whatever_is_in_a_row_a_path_leads_somewhere_or_nowhere(path: str, value: Any) -> None:
    with contextlib.suppress(InputError):
        get({str(top(path)): value}, path)


@pytest.mark.parametrize("name", ["$.", ".a", "a..b", "a[", "Answer [en]", "a[0", "a]", "a."])
def test_what_is_no_path_is_a_name(name: str) -> None:
    assert steps(name) == (name,)
    assert get({name: 1}, name) == 1


def test_a_column_with_a_dot_in_its_name_comes_before_a_path() -> None:
    assert get({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert get({"a": {"b": 2}}, "a.b") == 2


def test_a_text_on_the_way_is_read_as_json() -> None:
    assert get({"a": json.dumps({"b": [1]})}, "a.b[0]") == 1
    with pytest.raises(InputError, match=r"a\.b is a text that is not JSON"):
        get({"a": "{oops"}, "a.b")


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"there is no a\.b\[2\]: no 2 in list \[1\]"):
        get({"a": {"b": [1]}}, "a.b[2]")
    with pytest.raises(InputError, match=r"there is no c: no 'c' among the keys a, b$"):
        get({"a": "a long text", "b": 1}, "c")
