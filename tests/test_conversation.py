"""What callers may pass."""

from typing import Any

import pytest

from demur._conversation import Conversation, from_messages, from_prompt
from demur._shapes import from_row
from demur._template import Turn
from demur.errors import ShapeError

_ASKED = [Turn("user", "Q"), Turn("assistant", "A")]


def _turns(row: object) -> list[Turn]:
    return list(from_row(row).turns)


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
