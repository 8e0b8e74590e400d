"""What callers are told when what they pass is no conversation."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from _faults import fault
from hypothesis import given
from hypothesis import strategies as st

from demur._conversation import Conversation, from_messages, from_prompt
from demur._shapes import from_row
from demur._template import Turn
from demur.errors import EmptyResponseError, InputError, ShapeError


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (7, "a conversation is an object, a list of messages or a string, not int 7"),
        (None, "a conversation is an object, a list of messages or a string, not null"),
        ({}, "unknown shape with the keys (none); expected messages, conversations, prompt and response, "),
        ({"question": "Q", "answer": "A"}, "unknown shape with the keys question, answer; expected messages"),
        ({"prompt": "Q"}, "unknown shape with the keys prompt;"),
        ({"messages": None}, "messages is null, expected a list"),
        ({"messages": "hello"}, "messages is str 'hello', expected a list"),
        ({"messages": {"role": "user"}}, "messages is dict {'role': 'user'}, expected a list"),
        ({"messages": ["hello"]}, "message 0 is str 'hello', expected an object with role and content"),
        ({"conversations": [{"to": "user"}]}, "expected an object with from and value"),
        ({"prompt": "Q", "response": None}, "response is null, expected a string"),
        ({"prompt": 1, "response": "A"}, "prompt is int 1, expected a string"),
        ({"prompt": "Q", "response": "A", "system": []}, "system is list [], expected a string"),
        ({"messages": [], "system": 1}, "system is int 1, expected a string"),
        ({"instruction": 1, "output": "A"}, "instruction is int 1, expected a string"),
        ({"instruction": "I", "input": [1], "output": "A"}, "input is list [1], expected a string"),
        ({"instruction": "I", "output": 2.5}, "response is float 2.5, expected a string"),
        ({"text": None}, "text is null, expected a string"),
    ],
)
def test_what_is_no_conversation_is_named(row: object, message: str) -> None:
    assert message in fault(ShapeError, lambda: from_row(row))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            {"role": "narrator", "content": "x"},
            "message 1 has the role 'narrator', expected one of system, developer, user",
        ),
        ({"role": None, "content": "x"}, "message 1 has the role None, expected one of system"),
        ({"content": "x"}, "message 1 is dict {'content': 'x'}, expected an object with role and content"),
        ({"role": "user", "content": 5}, "message 1 has content int 5, expected a string or a list of parts"),
        ({"role": "user", "content": {"text": "x"}}, "message 1 has content dict {'text': 'x'}, expected a string"),
        ({"role": "user", "content": [5]}, "message 1 has a content part that is int 5, expected a text part"),
        ({"role": "user", "content": [{"text": None}]}, "message 1 has a content part that is dict {'text': None}"),
        ({"role": "user", "content": None, "refusal": 5}, "message 1 has content int 5"),
    ],
)
def test_a_faulty_message_is_named_by_its_place(message: object, told: str) -> None:
    assert told in fault(ShapeError, lambda: from_messages([{"role": "user", "content": "Q"}, message]))


def test_messages_that_end_with_the_user_have_no_reply_to_judge() -> None:
    chat = from_messages([{"role": "assistant", "content": "A"}, {"role": "human", "content": "Q"}])
    assert "the last message is the user's" in fault(ShapeError, chat.last)


@pytest.mark.parametrize("content", ["", " \n\t", "\u3000"])
def test_a_blank_reply_is_no_reply(content: str) -> None:
    assert "the response is empty" in fault(EmptyResponseError, from_prompt(content, "Q").last)


def test_no_messages_are_no_reply() -> None:
    assert "there are no messages" in fault(EmptyResponseError, from_messages([]).last)


def test_without_any_reply_there_are_no_replies() -> None:
    chat = Conversation((Turn("user", "Q"), Turn("assistant", " ")))
    assert "no assistant turn has text" in fault(EmptyResponseError, chat.replies)


def test_errors_show_only_the_beginning_of_a_long_value() -> None:
    assert len(fault(ShapeError, lambda: from_row(list(range(100_000))))) < 200
    assert len(fault(ShapeError, lambda: from_messages([{"role": "x" * 100_000}]))) < 400


def _deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [_deep(5000), 10**5000], ids=["deep", "long number"])
@pytest.mark.parametrize(
    "shape",
    [
        lambda value: [value],
        lambda value: {"messages": value},
        lambda value: {"messages": [{"role": value}]},
        lambda value: {"messages": [{"role": "user", "content": [{"text": value}]}]},
        lambda value: {"prompt": "Q", "response": value},
        lambda value: {"instruction": value, "output": "A"},
        lambda value: {"text": value},
    ],
)
def test_a_value_that_python_cannot_show_is_named_all_the_same(
    shape: Callable[[object], object], value: object
) -> None:
    fault(ShapeError, lambda: from_row(shape(value)))


# Anything at all

_LISTS = ("messages", "conversations")
_FIELDS = ("prompt", "response", "instruction", "input", "output", "text", "system")
_PARTS = ("role", "content", "from", "value", "refusal")
_WORDS = st.sampled_from([*_LISTS, *_FIELDS, *_PARTS, "user", "assistant", "gpt", "human", "tool"])
_TEXTS = _WORDS | st.text(st.characters())  # lone surrogates included
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=20)
_MESSAGES = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(_PARTS, _VALUES)))
_ROWS = _VALUES | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(_LISTS, _MESSAGES | _VALUES) | dict.fromkeys(_FIELDS, _VALUES)
)


@given(_ROWS)
def test_any_json_is_a_conversation_or_an_input_error(row: object) -> None:
    try:
        conversation = from_row(row)
    except InputError:
        return
    for read in (conversation.last, conversation.replies):
        with contextlib.suppress(InputError):
            assert read()


@given(st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant", "tool"]), st.text())))
def test_the_last_reply_is_the_last_of_all_replies(turns: list[Turn]) -> None:
    conversation = Conversation(tuple(turns))
    try:
        last = conversation.last()
    except InputError:
        return
    kept, places = conversation.replies()
    assert (kept, places[-1]) == (last, (len(turns) - 1, len(last) - 1))
    assert last[-1] == turns[-1]
    assert all(turn.content.strip() for turn in last)
