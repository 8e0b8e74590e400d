"""JSONL in, the same JSONL with verdicts out: nothing of the input is lost, no line stops the others."""

import io
import json
import sys
from typing import Any

import pytest
from _streams import Tally, score_file
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur.testing import fake_classifier


def _score(model: Classifier, data: bytes, workers: int = 1, turns: Any = "last") -> tuple[list[str], Tally]:
    target = io.BytesIO()
    tally = score_file(model, io.BytesIO(data), target, workers=workers, turns=turns)
    written = target.getvalue().decode()
    assert written == "" or written.endswith("\n")
    return written.split("\n")[:-1], tally


def _one(model: Classifier, line: str | bytes, turns: Any = "last") -> tuple[str, dict[str, Any]]:
    """Score one line and return the output line and its `demur` object."""
    lines, _ = _score(model, line if isinstance(line, bytes) else line.encode(), turns=turns)
    assert len(lines) == 1
    return lines[0], json.loads(lines[0])["demur"]


# What goes out


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
    line, verdict = _one(fake, json.dumps(row))
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
    out, verdict = _one(fake, line)
    kept = line[:-1].rstrip()
    assert out.startswith(kept)
    assert json.loads("{" + out.removeprefix(kept + ", ")) == {"demur": verdict}


def test_the_last_of_two_equal_keys_is_the_one_that_counts(fake: Classifier) -> None:
    assert _one(fake, '{"response":"Sure.","prompt":"Q","response":"I\'m sorry."}')[1]["refusal"] is True


def test_a_line_that_was_scored_before_gets_its_new_result_in_place_of_the_old(fake: Classifier) -> None:
    once, verdict = _one(fake, '{"id": 12345678901234567890, "prompt": "Q", "response": "I\'m sorry."}')
    twice, again = _one(fake, once)
    assert again == verdict
    assert twice.count('"demur"') == 1
    assert json.loads(twice) == json.loads(once)


def test_an_old_error_makes_way_for_a_verdict(fake: Classifier) -> None:
    _, verdict = _one(fake, '{"prompt": "Q", "response": "A", "demur": {"error": "x", "line": 9}}')
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
    _, result = _one(fake, json.dumps({"messages": messages}), turns="all")
    assert result["turns"] == [
        {"turn": 1, **fake.check_chat(messages[:2]).to_dict()},
        {"turn": 5, **fake.check_chat(messages).to_dict()},
    ]
    assert result["refusals"] == sum(turn["refusal"] for turn in result["turns"])
    assert result["turns"][1]["refusal"]


def test_a_tally_counts_lines_refusals_and_failures(fake: Classifier) -> None:
    data = b'{"response": "x", "prompt": null}\n{"prompt": "Q", "response": "I\'m sorry."}\n\nnope\n'
    assert _score(fake, data)[1] == Tally(lines=3, refusals=1, failed=1)


# How lines are told apart


_GOOD = b'{"prompt": "Q", "response": "A"}'


@pytest.mark.parametrize(
    "data",
    [
        _GOOD + b"\n" + _GOOD + b"\n",
        _GOOD + b"\n" + _GOOD,
        _GOOD + b"\r\n" + _GOOD + b"\r\n",
        b"\xef\xbb\xbf" + _GOOD + b"\n" + _GOOD,
        b"\n\n" + _GOOD + b"\n  \t\r\n" + _GOOD + b"\n\n",
        b"  " + _GOOD + b"  \n\t" + _GOOD,
    ],
    ids=["newline", "no newline at the end", "CRLF", "BOM", "blank lines", "spaces around"],
)
def test_line_ends_and_blanks_do_not_matter(fake: Classifier, data: bytes) -> None:
    lines, tally = _score(fake, data)
    assert lines == _score(fake, _GOOD + b"\n" + _GOOD)[0]
    assert tally == Tally(lines=2)


@pytest.mark.parametrize("data", [b"", b"\n", b" \n\n"])
def test_an_input_without_lines_gives_an_output_without_lines(fake: Classifier, data: bytes) -> None:
    assert _score(fake, data) == ([], Tally())


# Lines that can't be scored


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
    lines, tally = _score(fake, _GOOD + b"\n\n" + line + b"\n" + _GOOD)
    out = json.loads(lines[1])
    assert out["raw"] == line.decode("utf-8", "replace")
    assert error in out["demur"]["error"]
    assert out["demur"]["line"] == 3
    assert lines[0] == lines[2] == _score(fake, _GOOD)[0][0]
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
        ('{"prompt":"Q","response":null}', "response is NoneType None, expected a string"),
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
    lines, tally = _score(fake, _GOOD + b"\n" + line.encode() + b"\n" + _GOOD)
    out = json.loads(lines[1])
    assert out.keys() == {*json.loads(line), "demur"}
    assert lines[1].startswith(line[:-1].rstrip())
    assert error in out["demur"]["error"]
    assert out["demur"]["line"] == 2
    assert lines[0] == lines[2] == _score(fake, _GOOD)[0][0]
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
    lines, tally = _score(fake, data.encode(), turns=turns)
    assert tally.lines == len(lines) == len(depths)


def test_all_replies_without_any_is_an_error(fake: Classifier) -> None:
    line, result = _one(fake, '{"messages": [{"role": "user", "content": "Q"}]}', turns="all")
    assert result == {"error": "no assistant turn has text, so there is no reply to judge", "line": 1}
    assert line.startswith('{"messages"')


@given(st.binary().filter(lambda data: b"\n" not in data and data.strip(b" \t\r\x0b\x0c\xef\xbb\xbf")))
def test_any_bytes_give_one_line_of_json(fake: Classifier, data: bytes) -> None:
    lines, _ = _score(fake, data)
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
    (line,), tally = _score(fake, text, turns=turns)
    out = json.loads(line)
    result = out.pop("demur")
    assert ("error" in result) == bool(tally.failed)
    if "raw" not in out:
        assert out == {key: value for key, value in row.items() if key != "demur"}


# In order and in bounded memory


def _numbered(n: int) -> bytes:
    reply = ("Sure.", "I'm sorry.", "")
    return b"".join(json.dumps({"id": i, "prompt": "Q", "response": reply[i % 3]}).encode() + b"\n" for i in range(n))


def test_workers_do_not_change_the_output(fake: Classifier) -> None:
    data = _numbered(100)
    alone, tally = _score(fake, data, workers=1)
    assert [json.loads(line)["id"] for line in alone] == list(range(100))
    assert _score(fake, data, workers=2) == (alone, tally)
    assert _score(fake, data, workers=5) == (alone, tally)


class _Endless(io.RawIOBase):
    """A pipe of so many lines that are made when they are read; it can't be read twice."""

    def __init__(self, lines: int) -> None:
        self.read_lines, self._lines = 0, lines

    def readline(self, size: int | None = -1, /) -> bytes:
        if self.read_lines == self._lines:
            return b""
        self.read_lines += 1
        return b'{"prompt": "Q", "response": "A"}\n'


class _Target(io.RawIOBase):
    """Where lines go; remembers how far the source was read ahead of them."""

    def __init__(self, source: _Endless) -> None:
        self.lines, self.furthest = 0, 0
        self._source = source

    def write(self, data: Any, /) -> int:
        self.furthest = max(self.furthest, self._source.read_lines - self.lines)
        self.lines += bytes(data).count(b"\n")
        return len(data)


def _pipe(model: Classifier, source: Any, target: Any, workers: int) -> Tally:
    return score_file(model, source, target, workers=workers, turns="last")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_of_any_length_is_read_only_a_few_lines_ahead(workers: int) -> None:
    source = _Endless(20_000)
    target = _Target(source)
    tally = _pipe(fake_classifier(0.9), source, target, workers)
    assert tally == Tally(lines=20_000, refusals=20_000)
    assert target.lines == 20_000
    assert target.furthest <= 8 * workers + 2


def test_one_worker_writes_a_verdict_before_it_reads_the_next_line(fake: Classifier) -> None:
    source = _Endless(50)
    target = _Target(source)
    _pipe(fake, source, target, 1)
    assert target.furthest == 1
