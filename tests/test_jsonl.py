"""JSONL in, the same JSONL with verdicts out: nothing of the input is lost."""

import json
from typing import Any

import pytest
from _streams import GOOD, Tally, one, score

from demur import Classifier


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "I'm sorry."}]},
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "I'm sorry."}]},
        {"prompt": "Q", "response": "I'm sorry."},
        {"instruction": "Q", "input": "", "output": "I'm sorry."},
        {"text": "<|user|>Q<|assistant|>I'm sorry."},
    ],
    ids=["openai", "sharegpt", "exchange", "alpaca", "rendered"],
)
def test_every_shape_is_scored_as_the_classifier_scores_it(fake: Classifier, row: dict[str, object]) -> None:
    line, verdict = one(fake, json.dumps(row))
    assert verdict == fake.judge_row(row).to_dict()
    assert verdict["refusal"] is True
    assert json.loads(line) == {**row, "demur": verdict}


@pytest.mark.parametrize(
    "line",
    [
        '{"id":123456789012345678901234567890,"prompt":"Q","response":"A"}',
        '{"cost":1.10,"big":1e400,"small":-0.0,"prompt":"Q","response":"A"}',
        '{"prompt":"caf\\u00e9 \\/ \\ud83d\\ude00","response":"na\\u00efve"}',
        '{"prompt":"caf\u00e9 \U0001f600","response":"na\u00efve \u2028 \u0085"}',
        '{"response":"first","prompt":"Q","response":"A"}',
        '{ "prompt" : "Q" ,\t"response" : "A" }',
        '{"response":"A","prompt":null}',
        '{"prompt":"Q","response":"a lone \\ud83d surrogate"}',
        '{"prompt":"Q","response":"A","nan":NaN}',
        '{"prompt":"Q","response":"A","nested":{"demur":1}}',
    ],
)
def test_the_inputs_own_text_is_kept_to_the_byte(fake: Classifier, line: str) -> None:
    out, verdict = one(fake, line)
    kept = line[:-1].rstrip()
    assert out.startswith(kept)
    assert json.loads("{" + out.removeprefix(kept + ", ")) == {"demur": verdict}


def test_the_last_of_two_equal_keys_is_the_one_that_counts(fake: Classifier) -> None:
    assert one(fake, '{"response":"Sure.","prompt":"Q","response":"I\'m sorry."}')[1]["refusal"] is True


def test_a_line_that_was_scored_before_gets_its_new_result_in_place_of_the_old(fake: Classifier) -> None:
    once, verdict = one(fake, '{"id": 12345678901234567890, "prompt": "Q", "response": "I\'m sorry."}')
    twice, again = one(fake, once)
    assert again == verdict
    assert twice.count('"demur"') == 1
    assert json.loads(twice) == json.loads(once)


def test_messages_may_be_written_as_json(fake: Classifier) -> None:
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "I'm sorry."}]
    for key in ("messages", "conversations"):
        assert one(fake, json.dumps({key: json.dumps(messages)}))[1] == fake.check_chat(messages).to_dict()
    assert one(fake, '{"messages": "[oops"}')[1]["error"].startswith("messages is a text that is not JSON: ")


def test_an_old_error_makes_way_for_a_verdict(fake: Classifier) -> None:
    _, verdict = one(fake, '{"prompt": "Q", "response": "A", "demur": {"error": "x", "line": 9}}')
    assert verdict == fake.check("A", prompt="Q").to_dict()


def test_all_replies_can_be_judged(fake: Classifier) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "Sure."},
        {"role": "user", "content": "2"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "I'm sorry."},
    ]
    _, result = one(fake, json.dumps({"messages": messages}), turns="all")
    assert result["turns"] == [
        {"turn": 1, **fake.check_chat(messages[:2]).to_dict()},
        {"turn": 5, **fake.check_chat(messages).to_dict()},
    ]
    assert result["refusals"] == sum(turn["refusal"] for turn in result["turns"])
    assert result["turns"][1]["refusal"]


def test_a_tally_counts_lines_refusals_and_failures(fake: Classifier) -> None:
    data = b'{"response": "x", "prompt": null}\n{"prompt": "Q", "response": "I\'m sorry."}\n\nnope\n'
    assert score(fake, data)[1] == Tally(lines=3, refusals=1, failed=1)


@pytest.mark.parametrize(
    "data",
    [
        GOOD + b"\n" + GOOD + b"\n",
        GOOD + b"\n" + GOOD,
        GOOD + b"\r\n" + GOOD + b"\r\n",
        b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD,
        b"\n\n" + GOOD + b"\n  \t\r\n" + GOOD + b"\n\n",
        b"  " + GOOD + b"  \n\t" + GOOD,
    ],
    ids=["newline", "no newline at the end", "CRLF", "BOM", "blank lines", "spaces around"],
)
def test_line_ends_and_blanks_do_not_matter(fake: Classifier, data: bytes) -> None:
    lines, tally = score(fake, data)
    assert lines == score(fake, GOOD + b"\n" + GOOD)[0]
    assert tally == Tally(lines=2)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n"])
def test_an_input_without_lines_gives_an_output_without_lines(fake: Classifier, data: bytes) -> None:
    assert score(fake, data) == ([], Tally())
