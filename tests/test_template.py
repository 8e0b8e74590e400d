"""How conversations are written, and read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._template import Segment, Template, Turn, render
from demur.errors import EmptyResponseError, ShapeError

TAGS = Template({"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}, "", "<|...|>")
LINES = Template({"user": "<|user|>\n", "assistant": "<|assistant|>\n"}, "\n", " ... ")
BARE = Template({"assistant": ""}, "", " ... ")
CHAT = [Turn("system", "Be brief."), Turn("user", "Hi"), Turn("tool", "42"), Turn("assistant", "Hello")]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (TAGS, "<|system|>Be brief.<|user|>Hi<|assistant|>Hello"),
        (LINES, "<|user|>\nHi\n<|assistant|>\nHello"),
        (BARE, "Hello"),
    ],
)
def test_each_template_writes_the_turns_it_knows(template: Template, expected: str) -> None:
    assert render(template.segments(CHAT)) == expected


@pytest.mark.parametrize("template", [TAGS, LINES])
def test_a_rendered_text_reads_back_as_its_turns(template: Template) -> None:
    segments = template.segments(CHAT)
    assert template.parse(render(segments)) == segments


@given(
    st.lists(st.sampled_from(["<|user|>", "<|assistant|>", "<|user|>\n", "\n", "hello", " "]), max_size=10).map("".join)
)
def test_parsing_loses_no_character(text: str) -> None:
    for template in (TAGS, LINES, BARE):
        assert render(template.parse(text)) == text


def test_text_before_the_first_tag_is_kept() -> None:
    assert TAGS.parse("note<|assistant|>Hi") == [Segment("", "note"), Segment("<|assistant|>", "Hi")]


@pytest.mark.parametrize("text", ["just a reply", "<|assistant|>Hi<|user|>And?"])
def test_a_rendered_text_must_end_with_the_reply(text: str) -> None:
    with pytest.raises(ShapeError, match=r"opened by <\|assistant\|>"):
        TAGS.parse_to_reply(text)


@pytest.mark.parametrize("text", ["", "<|user|>Hi<|assistant|> \n"])
def test_a_rendered_text_without_a_reply_is_empty(text: str) -> None:
    with pytest.raises(EmptyResponseError):
        TAGS.parse_to_reply(text)


def test_every_reply_of_a_rendered_text_is_found() -> None:
    text = "<|user|>A<|assistant|>B<|user|>C<|assistant|>D"
    segments, replies = TAGS.replies(text)
    assert (render(segments), replies) == (text, [1, 3])


def test_a_model_of_replies_alone_reads_the_last_one() -> None:
    turns = [Turn("assistant", "I cannot."), Turn("user", "Please?"), Turn("assistant", "Sure.")]
    assert render(BARE.segments(turns)) == "Sure."


def test_markers_are_the_tags_without_white_space() -> None:
    assert LINES.markers == ("<|user|>", "<|assistant|>")
    assert BARE.markers == ()
