"""Where a row's conversation is: by name, by path, or recognised."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._bulk._columns import Columns, get, parse
from demur._bulk._csv import Head, Record
from demur._bulk._lines import Line
from demur.errors import DataError, InputError

_NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters=".[]'\"$"), min_size=1)
_STEPS = st.tuples(_NAMES, st.lists(_NAMES | st.integers(-99, 99), max_size=5))


def _line(row: dict[str, Any]) -> Line:
    return Line("in.jsonl", 1, json.dumps(row).encode())


def _record(**cells: str) -> Record:
    return Record("in.csv", 1, Head(tuple(cells), ","), list(cells.values()), "")


@given(_STEPS, st.booleans())
def test_a_path_is_split_into_its_steps(steps: tuple[str, list[str | int]], dollar: bool) -> None:
    first, others = steps
    written = ("$." if dollar else "") + first
    written += "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in others)
    assert parse(written) == [first, *others]


@given(_STEPS)
def test_what_lies_at_a_path_is_found(steps: tuple[str, list[str | int]]) -> None:
    first, others = steps
    value: Any = "found"
    for step in reversed(others):
        value = {step: value} if isinstance(step, str) else [value]
    path = first + "".join(f"[{json.dumps(step) if isinstance(step, str) else -1}]" for step in others)
    if all(json.loads(json.dumps(step)) == step and '"' not in json.dumps(step)[1:-1] for step in others):
        path = first + "".join(f'["{step}"]' if isinstance(step, str) else "[-1]" for step in others)
        assert get({first: value}, path) == "found"


@given(st.text())
def test_any_text_is_a_path_or_is_refused(text: str) -> None:
    with contextlib.suppress(DataError):
        assert parse(text)


@given(
    st.text(),
    st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)),
)
def test_whatever_is_in_a_row_nothing_is_raised_but_that_it_can_not_be_scored(path: str, value: Any) -> None:
    try:
        columns = Columns(messages=path)
    except DataError:
        return
    row = {path.split(".")[0].split("[")[0]: value}
    with contextlib.suppress(InputError):
        columns.conversation(_line(row))


@pytest.mark.parametrize("path", ["", "$.", ".a", "a..b", "a[", "a[x]", "a[0", "a]", "a."])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(DataError):
        Columns(text=path)


def test_a_column_with_a_dot_in_its_name_comes_before_a_path() -> None:
    assert get({"a.b": 1, "a": {"b": 2}}, "a.b") == 1
    assert get({"a": {"b": 2}}, "a.b") == 2


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"there is no a\.b\[2\]: no 2 in list \[1\]"):
        get({"a": {"b": [1]}}, "a.b[2]")


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (Columns(response="r"), {"r": "A", "p": "Q"}, {"prompt": None, "response": "A"}),
        (Columns(response="r", prompt="p"), {"r": "A", "p": "Q"}, {"prompt": "Q", "response": "A"}),
        (
            Columns(response="choices[0].message.content", prompt="request.messages[-1].content"),
            {"request": {"messages": [{"content": "Q"}]}, "choices": [{"message": {"content": "A"}}]},
            {"prompt": "Q", "response": "A"},
        ),
        (Columns(response="r"), {"r": "A", "system": "S"}, {"prompt": None, "response": "A", "system": "S"}),
        (Columns(messages="m"), {"m": [{"role": "user"}]}, {"messages": [{"role": "user"}]}),
        (Columns(messages="m"), {"m": '[{"role": "user"}]'}, {"messages": [{"role": "user"}]}),
        (Columns(messages="m"), {"m": [{"from": "gpt"}]}, {"conversations": [{"from": "gpt"}]}),
        (Columns(messages="log.m"), {"log": '{"m": [{"from": "gpt"}]}'}, {"conversations": [{"from": "gpt"}]}),
        (Columns(text="t"), {"t": "<|user|>"}, {"text": "<|user|>"}),
    ],
)
def test_named_columns_make_a_conversation(columns: Columns, row: dict[str, Any], expected: dict[str, Any]) -> None:
    assert columns.conversation(_line(row)) == expected


def test_a_list_in_a_cell_is_read_as_json() -> None:
    messages = [{"role": "assistant", "content": "A"}]
    row = _record(id="1", messages=json.dumps(messages))
    assert Columns().conversation(row)["messages"] == messages
    with pytest.raises(InputError, match="messages is a text that is not JSON"):
        Columns().conversation(_record(messages="[oops"))


@pytest.mark.parametrize(
    ("names", "wanted", "told"),
    [
        (["id", "prompt", "response", "cost"], ["prompt", "response"], "prompt, response"),
        (["output", "x", "instruction", "input"], ["output", "instruction", "input"], "output, instruction"),
        (["text", "system"], ["text", "system"], "text"),
        (["text", "messages"], ["messages"], "messages"),
        (["conversations"], ["conversations"], "conversations"),
    ],
)
def test_known_shapes_are_recognised_among_columns(names: list[str], wanted: list[str], told: str) -> None:
    assert Columns().wanted(names) == wanted
    assert Columns().told(names) == told


def test_named_columns_are_read_and_told() -> None:
    columns = Columns(response="log.answer", prompt="q", id="key")
    assert columns.wanted(["key", "q", "log", "prompt"]) == ["key", "q", "log"]
    assert columns.told(["q"]) == "prompt from q, response from log.answer, id from key"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (Columns(), "no conversation is recognised among the columns a, b; name them by --response-column"),
        (Columns(response="c"), "there is no column 'c'; the columns are a, b"),
    ],
)
def test_columns_that_are_not_there_are_refused(columns: Columns, told: str) -> None:
    with pytest.raises(DataError, match=told):
        columns.wanted(["a", "b"])


@pytest.mark.parametrize("parts", [{"response": "a", "text": "b"}, {"messages": "a", "text": "b"}, {"prompt": "a"}])
def test_parts_that_make_no_one_conversation_are_refused(parts: dict[str, str]) -> None:
    with pytest.raises(DataError, match="-column"):
        Columns(**parts)
