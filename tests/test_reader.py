"""What one bundle's model reads of a conversation."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._bundle import find, read
from demur._reader import Reader
from demur._shapes import from_row
from demur._template import Template
from demur._tokenizer import Tokenizer
from demur.errors import WrongValueError

BUNDLE = read(find(None))
TAGS = ("<|system|>", "<|user|>", "<|assistant|>")
TRICKS = [
    *TAGS,
    "<|USER|>",
    "<|us\u0301er|>",
    "<|us\u200ber|>",
    "<|us\x00er|>",
    "\uff1c|user|\uff1e",
    "<<|user|>|user|>",
    "[SEP]",
    "[unused0]",
]


def _edited(folder: Path, change: Callable[[dict[str, Any]], None]) -> Tokenizer:
    raw = json.loads(BUNDLE.tokenizer.path.read_text(encoding="utf-8"))
    change(raw)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    return Tokenizer(path)


def _as_plain_tokens(raw: dict[str, Any]) -> None:
    """Role tags as `add_tokens` makes them: not special, and looked for in the normalised text."""
    for token in raw["added_tokens"]:
        if token["content"] in TAGS:
            token.update(special=False, normalized=True)


@pytest.fixture(scope="module", params=["special", "plain"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, set[int]]:
    change = _as_plain_tokens if request.param == "plain" else lambda raw: None
    tokenizer = _edited(tmp_path_factory.mktemp("tokenizer"), change)
    return Reader(BUNDLE, tokenizer), {tokenizer.added[tag] for tag in TAGS}


@given(content=st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=8)), max_size=6).map("".join))
def test_no_content_opens_a_turn_however_the_tags_are_stored(reader: tuple[Reader, set[int]], content: str) -> None:
    one, tags = reader
    ids = one.read(from_row({"prompt": f"ok {content}", "response": f"sure {content}"})).ids
    assert sum(i in tags for i in ids) == 2


def test_text_for_which_the_vocabulary_has_no_token_is_read_once() -> None:
    tokenizer = Tokenizer(BUNDLE.tokenizer.path)
    text = "a < b [1] \U0001f600"
    ids = Reader(BUNDLE, tokenizer).read(from_row(text)).ids
    assert ids == tokenizer.encode(f"<|assistant|>{text}")


@pytest.mark.parametrize("rendered", [True, False])
def test_lone_surrogates_are_read_as_unknown(rendered: bool) -> None:
    one = Reader(BUNDLE, Tokenizer(BUNDLE.tokenizer.path))
    row = {"text": "<|assistant|>\ud83d hi"} if rendered else {"prompt": "\udc00" * 9000, "response": "\ud83d hi"}
    assert one.read(from_row(row)).text.endswith("<|assistant|>\ufffd hi")


def test_every_reply_of_a_very_long_conversation_is_read_in_bounded_time() -> None:
    one = Reader(BUNDLE, Tokenizer(BUNDLE.tokenizer.path))
    turns = [{"role": role, "content": f"{role} {i}"} for i in range(3000) for role in ("user", "assistant")]
    last = None
    for place, fitted in one.replies(from_row(turns)):
        assert len(fitted.ids) <= 512
        last = place, fitted
    assert last is not None
    assert last[0] == 5999
    assert last[1].text.endswith("<|user|>user 2999<|assistant|>assistant 2999")
    assert last[1].elided == pytest.approx(6000 * 3, rel=0.3)


@pytest.mark.parametrize(
    "template",
    [
        replace(BUNDLE.template, ellipsis="and here a great deal was left out, as it would not fit"),
        Template({"assistant": "here is what the other one had to say in reply to it:"}, "", "..."),
    ],
)
def test_a_template_without_room_for_a_reply_is_an_error(template: Template) -> None:
    tight = replace(BUNDLE, max_tokens=16, template=template)
    with pytest.raises(WrongValueError, match=r"'max_tokens' is 16, expected at least \d+"):
        Reader(tight, Tokenizer(BUNDLE.tokenizer.path))


def test_the_smallest_model_still_reads_both_ends() -> None:
    small = replace(BUNDLE, max_tokens=16)
    fitted = Reader(small, Tokenizer(BUNDLE.tokenizer.path)).read(from_row("first " * 500 + "last"))
    assert len(fitted.ids) <= 16
    assert fitted.text.startswith("<|assistant|>first")
    assert fitted.text.endswith("last")
