"""A line that can't be scored goes out in its place with its error, and stops no other."""

import json
import sys
from typing import Any

import pytest
from _streams import GOOD, Tally, one, score
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"sorry", "not JSON: Expecting value"),
        (b'{"prompt": "Q"', "not JSON: "),
        (b"{'prompt': 'Q'}", "not JSON: "),
        (b'{"prompt": "Q", "response": "A"} {}', "not JSON: Extra data"),
        (b'{"response": "\xff"}', "not UTF-8: byte 0xff at position 14"),
        (b'{"response": "\xed\xa0\xbd"}', "not UTF-8: byte 0xed at position 14"),
        (b'[{"role": "assistant", "content": "A"}]', "a line is a JSON object, this one is a list"),
        (b'"A"', "a line is a JSON object, this one is a str"),
        (b"null", "a line is a JSON object, this one is a NoneType"),
        (b'{"a": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b"[" * 200_000, "nested too deeply"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else "",
)
def test_a_line_that_is_no_object_goes_out_raw_with_its_error(fake: Classifier, line: bytes, error: str) -> None:
    lines, tally = score(fake, GOOD + b"\n\n" + line + b"\n" + GOOD)
    out = json.loads(lines[1])
    assert out["raw"] == line.decode("utf-8", "replace")
    assert error in out["demur"]["error"]
    assert out["demur"]["line"] == 3
    assert lines[0] == lines[2] == score(fake, GOOD)[0][0]
    assert tally == Tally(lines=3, failed=1)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("{}", "unknown shape with the keys (none)"),
        ("{ }", "unknown shape with the keys (none)"),
        ('{"question":"Q","cost":1.10}', "unknown shape with the keys question, cost"),
        ('{"prompt":"Q","response":""}', "the response is empty"),
        ('{"prompt":"Q","response":" \\n"}', "the response is empty"),
        ('{"prompt":"Q","response":7}', "response is int 7, expected a string"),
        ('{"prompt":"Q","response":null}', "response is null, expected a string"),
        ('{"messages":[]}', "there are no messages"),
        ('{"messages":[{"role":"user","content":"Q"}]}', "the last message is the user's"),
        ('{"messages":[{"role":"bystander","content":"Q"}]}', "'bystander'"),
        ('{"text":"no role tags"}', "not opened by <|assistant|>"),
        ('{"text":"<|user|>Q<|assistant|> "}', "the response is empty"),
        ('{"\\ud83d":1}', "unknown shape with the keys \ud83d"),
    ],
)
def test_an_object_that_is_no_conversation_keeps_its_text_and_gets_its_error(
    fake: Classifier, line: str, error: str
) -> None:
    lines, tally = score(fake, GOOD + b"\n" + line.encode() + b"\n" + GOOD)
    out = json.loads(lines[1])
    assert out.keys() == {*json.loads(line), "demur"}
    assert lines[1].startswith(line[:-1].rstrip())
    assert error in out["demur"]["error"]
    assert out["demur"]["line"] == 2
    assert lines[0] == lines[2] == score(fake, GOOD)[0][0]
    assert tally == Tally(lines=3, failed=1)


@pytest.mark.parametrize("turns", ["last", "all"])
@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "Q", "response": DEEP}',
        '{"prompt": "Q", "response": "A", "other": DEEP}',
        '{"prompt": "Q", "response": "A", "demur": DEEP}',
        '{"prompt": "Q", "response": "A", "other": DEEP, "demur": 1}',
        '{"messages": [{"role": DEEP}]}',
    ],
)
def test_no_depth_of_nesting_stops_the_others(fake: Classifier, line: str, turns: Any) -> None:
    limit = sys.getrecursionlimit()
    depths = range(limit - 200, limit + 10)
    data = "\n".join(line.replace("DEEP", "[" * depth + "]" * depth) for depth in depths)
    lines, tally = score(fake, data.encode(), turns=turns)
    assert tally.lines == len(lines) == len(depths)


def test_all_replies_without_any_is_an_error(fake: Classifier) -> None:
    line, result = one(fake, '{"messages": [{"role": "user", "content": "Q"}]}', turns="all")
    assert result == {"error": "no assistant turn has text, so there is no reply to judge", "line": 1}
    assert line.startswith('{"messages"')


@given(st.binary().filter(lambda data: b"\n" not in data and data.strip(b" \t\r\x0b\x0c\xef\xbb\xbf")))
def test_any_bytes_give_one_line_of_json(fake: Classifier, data: bytes) -> None:
    lines, _ = score(fake, data)
    assert "demur" in json.loads(lines[0])
    assert len(lines) == 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["prompt", "response", "messages", "text", "instruction", "output", "demur", "id"])


@given(st.dictionaries(_KEYS | st.text(), _JSON), st.booleans(), st.sampled_from(["last", "all"]))
def test_any_object_comes_back_whole(fake: Classifier, row: dict[str, Any], ascii_only: bool, turns: Any) -> None:
    text = json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    (line,), tally = score(fake, text, turns=turns)
    out = json.loads(line)
    result = out.pop("demur")
    assert ("error" in result) == bool(tally.failed)
    if "raw" not in out:
        assert out == {key: value for key, value in row.items() if key != "demur"}
