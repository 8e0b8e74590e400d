"""What judging one text takes on demur's side of the run: calls, bytes, characters tokenised."""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import _ceilings as ceilings
import pytest
from _ceilings import PROMPT, REPLY, calls

from demur import Classifier
from demur._bundle import find, read
from demur._tokenizer import Span, Tokenizer
from demur._words import WordMemory
from demur.testing import FakeSession

TEN_MB = "so it goes on and on " * 500_000


class CountingTokenizer(Tokenizer):
    """The bundle's tokenizer, which counts the characters that it is given."""

    def __init__(self, path: Path) -> None:
        self.given = 0
        super().__init__(path)

    def encode(self, text: str) -> list[int]:
        self.given += len(text)
        return super().encode(text)

    def spans(self, text: str) -> list[Span]:
        self.given += len(text)
        return super().spans(text)

    def count(self, text: str) -> int:
        self.given += len(text)
        return super().count(text)


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def most_bytes(function: Callable[[], object]) -> int:
    """Return how many bytes Python held at a time while `function` ran, beyond those it held before."""
    gc.collect()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    function()
    return tracemalloc.get_traced_memory()[1] - before


def known(model: Classifier) -> Callable[[], object]:
    """Return what judges a text whose words the model has met."""
    judge = partial(model.check, REPLY, prompt=PROMPT)
    judge()
    return judge


def test_a_known_text_takes_few_calls(model: Classifier) -> None:
    found = calls(known(model))
    assert found["call"] <= ceilings.CALLS
    assert found["c_call"] <= ceilings.CALLS_OF_C


def test_a_longer_text_takes_as_many_calls(model: Classifier) -> None:
    """What is done for each token is done by C."""
    short, long = "I'm sorry. " * 3, "I'm sorry. " * 100
    counted = []
    for text in (short, long):
        model.check(text)
        counted.append(calls(partial(model.check, text)))
    for event in ("call", "c_call"):
        assert abs(counted[0][event] - counted[1][event]) <= 1  # the label of an answer takes one more


@pytest.mark.usefixtures("_traced")
def test_a_known_text_takes_few_bytes(model: Classifier) -> None:
    judge = known(model)
    judge()
    assert most_bytes(judge) <= ceilings.BYTES


def test_nothing_of_a_known_text_is_kept(model: Classifier) -> None:
    judge = known(model)
    kept = []
    for _ in range(4):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(20):
            judge()
        gc.collect()
        kept.append(sys.getallocatedblocks() - before)
    # subtle: the interpreter's own caches fill up at first; what is kept of each text would tell every time.
    assert min(kept) < 20


def test_a_known_word_is_not_encoded_again() -> None:
    asked: list[str] = []

    def encode_words(words: Sequence[str]) -> list[list[int]]:
        asked.extend(words)
        return [[len(word)] for word in words]

    memory = WordMemory(encode_words, [])
    for text in ("I am sorry.", "I am not.", "sorry, am I not?", "I am sorry."):
        memory.encode(text)
    assert sorted(asked) == sorted({"I", "am", "sorry", ".", "not", ",", "?"})


@pytest.mark.usefixtures("_traced")
def test_a_remembered_word_takes_few_bytes() -> None:
    tokenizer = Tokenizer(read(find(None)).tokenizer.path)
    words = [f"{a}{b}q{c}x" for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz"]
    tokenizer.encode("warm up")
    text = " ".join(words)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    tokenizer.encode(text)
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    assert kept / len(words) <= ceilings.BYTES_OF_A_WORD


def test_of_ten_megabytes_the_tokenizer_is_given_little() -> None:
    bundle = read(find(None))
    tokenizer = CountingTokenizer(bundle.tokenizer.path)
    model = Classifier(bundle, tokenizer, lambda threads: FakeSession(lambda ids: 0.5), threads=1, threshold=0.5)
    given = {}
    for name, reply in (("page", TEN_MB[:20_000]), ("ten", TEN_MB)):
        tokenizer.given = 0
        assert model.check(reply, prompt=PROMPT).elided
        given[name] = tokenizer.given
    assert given["ten"] <= ceilings.CHARACTERS_OF_10_MB
    assert given["ten"] == pytest.approx(given["page"], rel=0.01)


@pytest.mark.usefixtures("_traced")
def test_ten_megabytes_are_not_copied(model: Classifier) -> None:
    model.encode(TEN_MB)
    assert most_bytes(lambda: model.encode(TEN_MB)) <= ceilings.BYTES_FOR_10_MB
