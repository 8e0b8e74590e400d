"""Texts put together from remembered words have the token ids that the tokenizer gives the whole text."""

import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

import demur_models
from demur import _words
from demur._tokenizer import Tokenizer
from demur._words import WordMemory, separable

PATH = demur_models.FOLDER / demur_models.DEFAULT / "tokenizer.json"
TAGS = ["<|user|>", "<|assistant|>", "<|...|>", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
# What breaks words, what seems to, what vanishes, and what changes on normalisation.
ODD = [" ", "\n", "\t", "\r\n", "\v", "\f", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\u200b", "\u00ad", "\ufeff"]
ODD += ["\u0301", "İ", "ß", "ﬁ", "漢字", "한국", "à", "<|user|", "|>", "<", "##", "\ufffd", "\0", "'", "...", "a" * 101]
PIECES = st.one_of(st.sampled_from(TAGS + ODD), st.sampled_from(["I'm", "sorry,", "can't", "Ünïcode", "Ω"]), st.text())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(PATH)


@pytest.fixture(scope="module")
def reference() -> RustTokenizer:
    return RustTokenizer.from_file(str(PATH))


def without_surrogates(pieces: list[str]) -> str:
    return "".join(pieces).encode("utf-8", "replace").decode()


@given(st.lists(PIECES, max_size=12).map(without_surrogates))
@example("")
@example(f"{'a' * 100} {'A' * 101}")
@example("a\x0bb c\x85d")
@example("x<|user|>y<|user|>")
@example("<|user<|user|>|>")
def test_ids_are_the_whole_texts(tokenizer: Tokenizer, reference: RustTokenizer, text: str) -> None:
    expected = reference.encode(text).ids
    assert tokenizer.encode(text) == expected
    assert tokenizer.encode(text) == expected  # from memory


@pytest.mark.parametrize(
    "tags", [["<a>", "a>"], ["<a>", "><"], ["<|a|>", "|>x"], ["|a|"], ["a!"], [""], ["<a>", "x<a>"]], ids=repr
)
def test_tags_that_overlap_or_begin_like_words_are_not_separable(tags: list[str]) -> None:
    assert not separable(tags)


def test_the_default_models_tags_are_separable(reference: RustTokenizer) -> None:
    assert separable([token.content for token in reference.get_added_tokens_decoder().values()])


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "_MOST", 50)
    memory = WordMemory(lambda words: [[len(word)] for word in words], [])
    for i in range(200):
        text = f"word{i} {'x' * i} of"
        assert memory.encode(text) == [len(word) for word in text.split()]
        assert len(memory._known) <= 53
    assert all(len(word) <= 40 for word in memory._known)


def test_threads_share_a_memory_that_is_emptied_under_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_words, "_MOST", 20)
    memory = WordMemory(lambda words: [[len(word)] for word in words], [])
    wrong: list[str] = []

    def work(seed: int) -> None:
        for i in range(2000):
            text = " ".join("y" * ((seed * i + k) % 37 + 1) for k in range(8))
            if memory.encode(text) != [len(word) for word in text.split()]:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_tokenizer_that_looks_beyond_words_reads_whole_texts(tmp_path: Path) -> None:
    """A tag that takes the space before it away can't be parted from the words beside it."""
    rust = RustTokenizer.from_file(str(PATH))
    rust.add_special_tokens([AddedToken("<gap>", lstrip=True, rstrip=True, special=True, normalized=False)])
    rust.save(str(tmp_path / "tokenizer.json"))
    text = "no <gap> more"
    assert Tokenizer(tmp_path / "tokenizer.json").encode(text) == rust.encode(text).ids
