"""What callers may pass, and what they are told when it is no conversation."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._conversation import Conversation, from_messages, from_prompt, from_row
from demur._template import Turn
from demur.errors import EmptyResponseError, InputError, ShapeError

_ASKED = [Turn("user", "Q"), Turn("assistant", "A")]


def _turns(row: object) -> list[Turn]:
    return list(from_row(row).turns)


def _refused(kind: type[InputError], act: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


# Shapes


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "input": None, "output": "A"},
        [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
        ({"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}),
    ],
    ids=["openai", "sharegpt", "exchange", "alpaca", "alpaca blank input", "alpaca null input", "list", "tuple"],
)
def test_each_shape_gives_the_same_turns(row: object) -> None:
    assert _turns(row) == _ASKED


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        {"prompt": "Q", "response": "A"},
        {"instruction": "Q", "output": "A"},
    ],
    ids=["openai", "sharegpt", "exchange", "alpaca"],
)
def test_a_system_key_comes_first_in_every_shape(row: dict[str, object]) -> None:
    assert _turns(row | {"system": "S"}) == [Turn("system", "S"), *_ASKED]
    assert _turns(row | {"system": None}) == _ASKED


def test_alpacas_input_follows_its_instruction() -> None:
    row = {"instruction": "Translate.", "input": "Bonjour", "output": "A"}
    assert _turns(row) == [Turn("user", "Translate.\n\nBonjour"), Turn("assistant", "A")]


def test_a_string_is_a_reply_alone() -> None:
    assert _turns("A") == [Turn("assistant", "A")]


def test_an_exchange_without_a_prompt_is_a_reply_alone() -> None:
    assert _turns({"prompt": None, "response": "A"}) == [Turn("assistant", "A")]


def test_a_text_is_already_rendered() -> None:
    assert from_row({"text": "<|user|>Q<|assistant|>A"}) == Conversation((), "<|user|>Q<|assistant|>A")


def test_a_recognised_conversation_is_handed_on() -> None:
    conversation = from_prompt("A", "Q")
    assert from_row(conversation) is conversation


def test_other_keys_do_not_matter() -> None:
    assert _turns({"id": 7, "prompt": "Q", "response": "A", "score": None}) == _ASKED


def test_messages_win_over_the_other_shapes() -> None:
    row = {"text": "T", "output": "O", "instruction": "I", "messages": [{"role": "assistant", "content": "A"}]}
    assert _turns(row) == [Turn("assistant", "A")]


def test_the_callers_objects_are_not_changed() -> None:
    row = {"system": "S", "messages": [{"role": "Human", "content": [{"text": "Q"}]}]}
    copy = {"system": "S", "messages": [{"role": "Human", "content": [{"text": "Q"}]}]}
    from_row(row)
    assert row == copy


# Roles and content


@pytest.mark.parametrize(
    ("role", "common"),
    [
        ("developer", "system"),
        ("human", "user"),
        ("prompter", "user"),
        ("gpt", "assistant"),
        ("chatgpt", "assistant"),
        ("model", "assistant"),
        ("bot", "assistant"),
        ("function", "tool"),
        ("observation", "tool"),
        ("ASSISTANT", "assistant"),
        ("User", "user"),
    ],
)
def test_roles_go_by_many_names(role: str, common: str) -> None:
    assert from_messages([{"role": role, "content": "x"}]).turns == (Turn(common, "x"),)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}, "one\ntwo"),
        ({"content": ["one", {"text": ""}, "two"]}, "one\ntwo"),
        ({"content": []}, ""),
        ({"content": [{"type": "refusal", "refusal": "I'm sorry."}]}, "I'm sorry."),
        ({"content": None, "refusal": "I'm sorry."}, "I'm sorry."),
        ({"content": "A", "refusal": None}, "A"),
        ({"content": None, "tool_calls": [{"id": "1"}]}, ""),
        ({"tool_calls": [{"id": "1"}]}, ""),
    ],
    ids=["parts", "strings", "no parts", "part", "refusal", "null refusal", "null content", "no content"],
)
def test_content_as_openai_writes_it(message: dict[str, Any], content: str) -> None:
    assert from_messages([{"role": "assistant"} | message]).turns == (Turn("assistant", content),)


def test_a_part_that_is_no_text_is_an_error() -> None:
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(ShapeError, match=r"message 0 has a content part .*image_url.* expected a text part"):
        from_messages([{"role": "user", "content": [{"type": "text", "text": "Look:"}, image]}])


def test_an_unknown_role_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        ShapeError, match=r"'robot', expected one of system, developer, user, human, .*gpt.*model.*tool"
    ):
        from_messages([{"role": "robot", "content": "x"}])


def test_places_of_replies_are_those_in_the_list_of_messages() -> None:
    chat = from_row(
        {"system": "S", "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    )
    assert chat.replies()[1] == [(1, 2)]


def test_a_tool_call_and_its_result_leave_the_reply_to_judge() -> None:
    chat = from_messages(
        [
            {"role": "user", "content": "Q"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "42"},
            {"role": "assistant", "content": "A"},
        ]
    )
    assert chat.last() == [Turn("user", "Q"), Turn("tool", "42"), Turn("assistant", "A")]


def test_blank_turns_are_left_out_before_the_reply() -> None:
    chat = Conversation((Turn("system", " \n"), Turn("user", "Q"), Turn("assistant", "A")))
    assert chat.last() == _ASKED


def test_every_reply_comes_with_what_was_said_before_it() -> None:
    turns = (
        Turn("user", "1"),
        Turn("assistant", "2"),
        Turn("assistant", " "),
        Turn("user", "3"),
        Turn("assistant", "4"),
    )
    assert Conversation(turns).replies() == ([turns[0], turns[1], turns[3], turns[4]], [(1, 1), (4, 3)])


def test_replies_do_not_have_to_come_last() -> None:
    turns = (Turn("assistant", "Hello"), Turn("user", "Q"))
    assert Conversation(turns).replies() == (list(turns), [(0, 0)])


# Errors


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (7, "a conversation is an object, a list of messages or a string, not int 7"),
        (None, "a conversation is an object, a list of messages or a string, not NoneType None"),
        ({}, "unknown shape with the keys (none); expected messages, conversations, prompt and response, "),
        ({"question": "Q", "answer": "A"}, "unknown shape with the keys question, answer; expected messages"),
        ({"prompt": "Q"}, "unknown shape with the keys prompt;"),
        ({"messages": None}, "messages is NoneType None, expected a list"),
        ({"messages": "hello"}, "messages is str 'hello', expected a list"),
        ({"messages": {"role": "user"}}, "messages is dict {'role': 'user'}, expected a list"),
        ({"messages": ["hello"]}, "message 0 is str 'hello', expected an object with role and content"),
        ({"conversations": [{"role": "user"}]}, "expected an object with from and value"),
        ({"prompt": "Q", "response": None}, "response is NoneType None, expected a string"),
        ({"prompt": 1, "response": "A"}, "prompt is int 1, expected a string"),
        ({"prompt": "Q", "response": "A", "system": []}, "system is list [], expected a string"),
        ({"messages": [], "system": 1}, "system is int 1, expected a string"),
        ({"instruction": 1, "output": "A"}, "instruction is int 1, expected a string"),
        ({"instruction": "I", "input": [1], "output": "A"}, "input is list [1], expected a string"),
        ({"instruction": "I", "output": 2.5}, "response is float 2.5, expected a string"),
        ({"text": None}, "text is NoneType None, expected a string"),
    ],
)
def test_what_is_no_conversation_is_named(row: object, message: str) -> None:
    assert message in _refused(ShapeError, lambda: from_row(row))


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
    assert told in _refused(ShapeError, lambda: from_messages([{"role": "user", "content": "Q"}, message]))


def test_messages_that_end_with_the_user_have_no_reply_to_judge() -> None:
    chat = from_messages([{"role": "assistant", "content": "A"}, {"role": "human", "content": "Q"}])
    assert "the last message is the user's" in _refused(ShapeError, chat.last)


@pytest.mark.parametrize("content", ["", " \n\t", "\u3000"])
def test_a_blank_reply_is_no_reply(content: str) -> None:
    assert "the response is empty" in _refused(EmptyResponseError, from_prompt(content, "Q").last)


def test_no_messages_are_no_reply() -> None:
    assert "there are no messages" in _refused(EmptyResponseError, from_messages([]).last)


def test_without_any_reply_there_are_no_replies() -> None:
    chat = Conversation((Turn("user", "Q"), Turn("assistant", " ")))
    assert "no assistant turn has text" in _refused(EmptyResponseError, chat.replies)


def test_errors_show_only_the_beginning_of_a_long_value() -> None:
    assert len(_refused(ShapeError, lambda: from_row(list(range(100_000))))) < 200
    assert len(_refused(ShapeError, lambda: from_messages([{"role": "x" * 100_000}]))) < 400


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
    _refused(ShapeError, lambda: from_row(shape(value)))


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
