"""Where a row's conversation is: recognised as an object's keys are, or named; the same rule for every table."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur import BatchScorer, Classifier
from demur._columns import Columns
from demur._shapes import from_row
from demur.errors import DataError, InputError

_OPENAI = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "I'm sorry."}]
_SHAREGPT = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "I'm sorry."}]
_TEXT = "<|user|>Q<|assistant|>I'm sorry."
ROWS: list[dict[str, Any]] = [
    {"messages": _OPENAI},
    {"messages": _SHAREGPT},
    {"messages": _OPENAI, "system": "Be kind."},
    {"conversations": _SHAREGPT},
    {"conversations": _OPENAI},
    {"prompt": "Q", "response": "I'm sorry."},
    {"prompt": "Q", "response": "I'm sorry.", "system": "Be kind."},
    {"instruction": "Q", "input": "Lock", "output": "I'm sorry."},
    {"instruction": "Q", "output": "Sure."},
    {"text": _TEXT},
    {"messages": _OPENAI, "prompt": "Q", "response": "Sure.", "text": "x"},
    {"messages": None, "prompt": "Q", "response": "Sure.", "text": None},
    {"messages": [], "prompt": None, "response": None, "text": _TEXT},
    {"text": _TEXT, "system": "in the text already"},
]


def _one(model: Classifier, row: dict[str, Any], **columns: str) -> dict[str, Any]:
    """Judge a table of one row; its columns by name."""
    scored = BatchScorer(model, **columns)({key: [value] for key, value in row.items()})  # type: ignore[arg-type]
    return {name.removeprefix("demur_"): values[0] for name, values in scored.items()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(row))
def test_columns_are_recognised_as_keys_are(fake: Classifier, row: dict[str, Any]) -> None:
    verdict = fake.judge_row({**row, "other": 1})
    found = _one(fake, {**row, "other": 1})
    assert found == {
        "score": verdict.score,
        "refusal": verdict.refusal,
        "tokens": verdict.tokens,
        "elided": 0,
        "error": None,
    }


def test_a_row_of_cells_is_the_shape_that_it_fills(fake: Classifier) -> None:
    row: dict[str, Any] = {"messages": "", "prompt": "Q", "response": "I'm sorry.", "text": ""}
    assert _one(fake, row)["refusal"] is True
    assert _one(fake, row | {"messages": json.dumps(_SHAREGPT), "response": "Sure."})["refusal"] is True
    error = _one(fake, row | {"response": None})["error"]
    assert error == "messages and response and text are empty, so there is no reply to judge"
    assert _one(fake, {"messages": ""})["error"] == "messages is an empty text, expected a list"
    assert (
        _one(fake, {"prompt": "Q", "response": ""})["error"] == "the response is empty, so there is no reply to judge"
    )


@pytest.mark.parametrize(
    ("columns", "alike"),
    [
        ({"response": "a"}, {"prompt": None, "response": "I'm sorry."}),
        ({"response": "a", "prompt": "q"}, {"prompt": "Why?", "response": "I'm sorry."}),
        ({"response": "a", "prompt": "q", "system": "s"}, {"prompt": "Why?", "response": "I'm sorry.", "system": "S"}),
        ({"response": "log[0].a", "prompt": "log[-1].q"}, {"prompt": "Why?", "response": "I'm sorry."}),
        ({"response": "a [en]"}, {"prompt": None, "response": "Yes."}),
        ({"messages": "m"}, {"messages": _OPENAI}),
        ({"messages": "g"}, {"conversations": _SHAREGPT}),
        ({"messages": "j", "system": "s"}, {"messages": _OPENAI, "system": "S"}),
        ({"messages": "k.m"}, {"messages": _SHAREGPT}),
        ({"text": "t"}, {"text": "<|user|>Q<|assistant|>No."}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_named_columns_are_read_in_place_of_known_ones(
    fake: Classifier, columns: dict[str, str], alike: dict[str, Any]
) -> None:
    table = {
        "a": "I'm sorry.", "q": "Why?", "s": "S", "m": _OPENAI, "g": _SHAREGPT, "j": json.dumps(_OPENAI),
        "log": [{"a": "I'm sorry."}, {"q": "Why?"}], "k": json.dumps({"m": _SHAREGPT}), "a [en]": "Yes.",
        "t": "<|user|>Q<|assistant|>No.", "response": 1, "prompt": 2, "messages": 3, "text": 4,
    }  # fmt: skip
    verdict = fake.judge_row(alike)
    assert fake.judge_row(Columns(**columns).conversation(table)) == verdict
    found = _one(fake, table, **columns)
    assert (found["score"], found["tokens"], found["error"]) == (verdict.score, verdict.tokens, None)


def test_a_column_of_responses_that_holds_messages_says_how_to_name_it(fake: Classifier) -> None:
    error = _one(fake, {"chosen": _OPENAI}, response="chosen")["error"]
    assert error == "chosen holds messages; name it as the column of messages, not of responses"
    assert _one(fake, {"chosen": ["I'm sorry."]}, response="chosen")["error"].startswith("response is list [")


def test_a_system_column_is_read_beside_named_ones(fake: Classifier) -> None:
    with_system = fake.check("A", prompt="Q", system="Be kind.")
    assert (
        _one(fake, {"system": "Be kind.", "q": "Q", "a": "A"}, prompt="q", response="a")["tokens"] == with_system.tokens
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"response": "a", "text": "t"}, "response and text are given"),
        ({"prompt": "q"}, "so there is no reply"),
        ({"system": "s"}, "so there is no reply"),
        ({"prompt": "q", "messages": "m"}, "prompt goes with response, not with messages"),
        ({"text": "t", "system": "s"}, "system doesn't go with text"),
        ({"response": ""}, "the name of the column of response is empty"),
    ],
)
def test_columns_that_make_no_conversation_are_an_error(columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Columns(**columns)


@pytest.mark.parametrize(
    ("names", "columns", "message"),
    [
        (["question", "answer"], {}, "no conversation is recognised among the columns question, answer; name them"),
        ([], {}, r"among the columns \(none\)"),
        (["response"], {}, "no conversation is recognised"),
        (["a"], {"response": "b"}, "response is to be read from 'b'; there is no such column among a"),
        (["a"], {"response": "b[0].c"}, r"response is to be read from 'b\[0\]\.c'; there is no such column among a"),
        (["a"], {"response": "[0]"}, r"response is to be read from '\[0\]'; there is no such column among a"),
        (["a", "a"], {"response": "a"}, "there are 2 columns of that name"),
        (["prompt", "response", "prompt"], {}, "prompt is to be read from 'prompt'; there are 2"),
    ],
)
def test_columns_that_are_not_there_are_an_error(names: list[str], columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Columns(**columns).wanted(names)


@pytest.mark.parametrize(
    ("names", "wanted", "told"),
    [
        (["id", "prompt", "response", "cost"], ["prompt", "response"], "prompt, response"),
        (["output", "x", "instruction", "input"], ["output", "instruction", "input"], "output, instruction"),
        (["text", "system"], ["text", "system"], "text"),
        (["text", "messages"], ["text", "messages"], "messages, or else text"),
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
    assert Columns(id="key").told(["key", "text"]) == "text, id from key"


def test_messages_that_are_broken_json_fail_alone(fake: Classifier) -> None:
    scored = BatchScorer(fake)({"messages": [json.dumps(_OPENAI), "[{", None, "[" * 100_000, _OPENAI]})
    assert scored["demur_refusal"] == [True, None, None, None, True]
    assert scored["demur_error"][1].startswith("messages is a text that is not JSON")
    assert scored["demur_error"][2] == "messages is null, expected a list"


_CELL = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_PARTS = st.sampled_from(["messages", "conversations", "prompt", "response", "instruction", "output", "text", "system"])


@given(st.dictionaries(_PARTS, _CELL), _PARTS)
def test_any_cells_are_a_row_or_an_input_error(row: dict[str, Any], part: str) -> None:
    for columns in (Columns(), Columns(messages=part), Columns(response=part, prompt="prompt"), Columns(text=part)):
        with contextlib.suppress(InputError):
            from_row(columns.conversation(row))
