"""What does not fit is left out of the middle, and the reply comes first."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur._bundle import find, read
from demur._elide import fit
from demur._template import Segment, Template, Turn
from demur._tokenizer import Tokenizer

TEMPLATE = Template(
    roles={"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}, separator="", ellipsis="<|...|>"
)


def _tokenizer() -> Tokenizer:
    return Tokenizer(read(find(None)).tokenizer.path)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return _tokenizer()


SHARED = _tokenizer()


def words(count: int, stem: str = "word") -> str:
    return " ".join(f"{stem}{i}" for i in range(count))


def segments(*turns: tuple[str, str]) -> list[Segment]:
    return TEMPLATE.segments([Turn(*turn) for turn in turns])


def test_what_fits_is_read_whole(tokenizer: Tokenizer) -> None:
    fitted = fit(segments(("user", "How are you?"), ("assistant", "Fine.")), tokenizer, 64, TEMPLATE.ellipsis)
    assert fitted.text == "<|user|>How are you?<|assistant|>Fine."
    assert fitted.ids == tokenizer.encode(fitted.text)
    assert fitted.elided == 0


def test_a_text_of_exactly_the_limit_is_read_whole(tokenizer: Tokenizer) -> None:
    conversation = segments(("assistant", words(20)))
    limit = len(tokenizer.encode(conversation[0].opening + conversation[0].content))
    assert fit(conversation, tokenizer, limit, TEMPLATE.ellipsis).elided == 0
    assert fit(conversation, tokenizer, limit - 1, TEMPLATE.ellipsis).elided > 0


def test_a_long_reply_keeps_its_beginning_and_its_end(tokenizer: Tokenizer) -> None:
    fitted = fit(segments(("assistant", words(500))), tokenizer, 64, TEMPLATE.ellipsis)
    assert fitted.text.startswith("<|assistant|>word0 word1 word2")
    assert fitted.text.endswith("word498 word499")
    assert fitted.text.count("<|...|>") == 1


def test_two_thirds_of_what_is_kept_come_from_the_beginning(tokenizer: Tokenizer) -> None:
    reply = " ".join(["word"] * 2000)
    head, tail = fit(segments(("assistant", reply)), tokenizer, 512, "<|...|>").text.split("<|...|>")
    assert tokenizer.count(head) == pytest.approx(2 * tokenizer.count(tail), abs=3)


def test_elided_counts_the_tokens_that_were_left_out(tokenizer: Tokenizer) -> None:
    reply = words(200)
    fitted = fit(segments(("assistant", reply)), tokenizer, 64, TEMPLATE.ellipsis)
    kept = fitted.text.removeprefix("<|assistant|>")
    left_out = tokenizer.count(reply) - tokenizer.count(kept.replace("<|...|>", " "))
    assert abs(fitted.elided - left_out) <= 2


def test_most_of_the_budget_is_used(tokenizer: Tokenizer) -> None:
    fitted = fit(segments(("user", words(400, "ask")), ("assistant", words(400))), tokenizer, 128, TEMPLATE.ellipsis)
    assert 100 <= len(fitted.ids) <= 128


def test_the_reply_comes_before_the_question_and_the_question_keeps_an_eighth(tokenizer: Tokenizer) -> None:
    fitted = fit(segments(("user", words(400, "ask")), ("assistant", words(400))), tokenizer, 128, TEMPLATE.ellipsis)
    question, reply = fitted.text.removeprefix("<|user|>").split("<|assistant|>")
    assert question.startswith("ask0 ")
    assert question.endswith("ask399")
    assert tokenizer.count(question) <= 16
    assert tokenizer.count(reply) >= 80


def test_a_short_question_survives_a_long_reply_whole(tokenizer: Tokenizer) -> None:
    fitted = fit(segments(("user", "Why is the sky blue?"), ("assistant", words(900))), tokenizer, 128, "<|...|>")
    assert fitted.text.startswith("<|user|>Why is the sky blue?<|assistant|>word0")


def test_the_oldest_turns_go_first(tokenizer: Tokenizer) -> None:
    turns = [(role, words(12, f"{role}{i}x")) for i in range(9) for role in ("user", "assistant")]
    fitted = fit(segments(*turns), tokenizer, 192, TEMPLATE.ellipsis)
    assert fitted.text.endswith(words(12, "assistant8x"))
    assert words(12, "user8x") in fitted.text
    assert "user0x" not in fitted.text
    present = [f"user{i}x0" in fitted.text for i in range(9)]
    assert present == sorted(present)


def test_cuts_fall_between_words(tokenizer: Tokenizer) -> None:
    reply = " ".join(["unbelievably", "counterintuitive", "misrepresentation"] * 200)
    kept = fit(segments(("assistant", reply)), tokenizer, 64, " <|...|> ").text.removeprefix("<|assistant|>")
    assert set(kept.split()) == {"unbelievably", "counterintuitive", "misrepresentation", "<|...|>"}


def test_ten_megabytes_take_no_longer_than_a_page(tokenizer: Tokenizer) -> None:
    huge = "so it goes on and on " * 500_000
    start = time.perf_counter()
    fitted = fit(segments(("user", huge), ("assistant", huge)), tokenizer, 512, TEMPLATE.ellipsis)
    assert time.perf_counter() - start < 2
    assert len(fitted.ids) <= 512
    assert fitted.elided == pytest.approx(2 * 6 * 500_000, rel=0.01)


def test_a_hundred_thousand_turns_are_bounded_too(tokenizer: Tokenizer) -> None:
    many = segments(*[("user", "And now?"), ("assistant", "Not yet.")] * 50_000)
    start = time.perf_counter()
    fitted = fit(many, tokenizer, 512, TEMPLATE.ellipsis)
    assert time.perf_counter() - start < 3
    assert fitted.text.endswith("<|user|>And now?<|assistant|>Not yet.")
    assert fitted.elided == pytest.approx(100_000 * 3, rel=0.3)


@pytest.mark.parametrize("blob", ["x" * 300_000, " " * 300_000 + "end", "\u3042" * 300_000, "\n\n<br>" * 50_000])
def test_text_without_words_is_bounded_and_read(tokenizer: Tokenizer, blob: str) -> None:
    fitted = fit(segments(("assistant", blob)), tokenizer, 512, TEMPLATE.ellipsis)
    assert 3 <= len(fitted.ids) <= 512


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=400)), max_size=6),
    st.text(min_size=1, max_size=3000),
    st.integers(16, 96),
)
def test_any_conversation_fits(turns: list[tuple[str, str]], reply: str, limit: int) -> None:
    clean = [(role, content.encode("utf-8", "replace").decode()) for role, content in [*turns, ("assistant", reply)]]
    conversation = segments(*clean)
    fitted = fit(conversation, SHARED, limit, TEMPLATE.ellipsis)
    assert len(fitted.ids) <= limit
    assert fitted.ids == SHARED.encode(fitted.text)
    whole = "".join(opening + content for opening, content in conversation)
    if len(SHARED.encode(whole)) <= limit:
        assert (fitted.text, fitted.elided) == (whole, 0)
