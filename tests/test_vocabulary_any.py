"""Any vocabulary can be pruned, whatever its pieces and their scores are, or is refused."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur import _bundle
from demur._conversation import from_prompt
from demur._reader import Reader
from demur._template import Template
from demur._tokenizer import Tokenizer as Runtime
from demur.errors import CheckpointError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

from _pruned import Pair, read
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from demur_export import vocabulary

LETTERS = "abc"
strings = st.text(LETTERS, min_size=2, max_size=4)
lines = st.text(LETTERS + "d ", max_size=24)


def tiny_wordpiece(pieces: list[str], _: list[float]) -> Tokenizer:
    parts = ["[UNK]", *LETTERS, *(f"##{c}" for c in LETTERS), *pieces, *(f"##{p}" for p in reversed(pieces))]
    rust = Tokenizer(models.WordPiece({p: i for i, p in enumerate(dict.fromkeys(parts))}, unk_token="[UNK]"))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece(cleanup=False)
    return rust


def tiny_unigram(pieces: list[str], scores: list[float]) -> Tokenizer:
    parts = list(zip([*LETTERS, *pieces], itertools.cycle(scores), strict=False))
    rust = Tokenizer(models.Unigram([("<unk>", 0.0), *parts], unk_id=0))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    return rust


def tiny_bpe(pieces: list[str], scores: list[float]) -> Tokenizer:
    known, merges = ["<unk>", *LETTERS], list[tuple[str, str]]()
    for score in scores:  # each merge joins two entries that are known by then
        first, second = known[1 + int(-score * 7) % (len(known) - 1)], known[1 + int(-score * 97) % (len(known) - 1)]
        if first + second not in known:
            known.append(first + second)
            merges.append((first, second))
    rust = Tokenizer(models.BPE({p: i for i, p in enumerate(known)}, merges, unk_token="<unk>"))
    rust.pre_tokenizer, rust.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Fuse()
    return rust


@pytest.mark.parametrize("make", [tiny_wordpiece, tiny_unigram, tiny_bpe])
@given(
    pieces=st.lists(strings, max_size=8, unique=True),
    scores=st.lists(st.floats(-9, -0.1), min_size=4, max_size=12),
    corpus=st.lists(lines, max_size=3),
    text=lines,
)
@settings(max_examples=120)
def test_any_vocabulary_that_knows_its_characters_can_be_pruned(
    tmp_path_factory: pytest.TempPathFactory,
    make: Callable[[list[str], list[float]], Tokenizer],
    pieces: list[str],
    scores: list[float],
    corpus: list[str],
    text: str,
) -> None:
    pair = Pair(make(pieces, scores), tmp_path_factory.getbasetemp())
    small = pair.prune(corpus)
    assert read(small, text) == read(pair.full, text)
    assert [small.encode(one).tokens for one in corpus] == [pair.full.encode(one).tokens for one in corpus]


def test_what_has_no_piece_of_its_own_keeps_those_that_hold_it(tmp_path: Path) -> None:
    vocab = {p: i for i, p in enumerate(["[UNK]", "a", "##a", "##o", "##zo", "zoo", "zaa", "aqa", "aaa", "##aaa"])}
    full = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    full.pre_tokenizer, full.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece(cleanup=False)
    small = Pair(full, tmp_path).prune(["a"])
    assert small.get_vocab().keys() == vocab.keys() - {"aaa", "##aaa"}
    for text in ("azoo", "zooaaa", "zaazo", "z", "azo aaa", "aqaa"):
        assert read(small, text) == read(full, text)


def test_what_is_unknown_costs_what_it_did(tmp_path: Path) -> None:
    scores = {"<unk>": 0.0, "a": -12.0, "b": -1.0, "z": -1.0, "ab": -1.0, "bc": -30.0, "zz": -40.0}
    full = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))
    assert full.encode("abc").tokens == ["a", "bc"]  # and not ab, c: an unknown character costs 10 more than zz
    assert Pair(full, tmp_path).prune(["abc", "ab"]).encode("abc").tokens == ["a", "bc"]


def test_a_kind_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    full = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    with pytest.raises(CheckpointError, match=r"model.type is 'WordLevel'; vocabularies of WordPiece, Unigram, BPE"):
        Pair(full, tmp_path).prune(["a"])


def test_a_file_that_is_no_tokenizer_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a tokenizer"):
        vocabulary.prune(path, set())


def test_a_corpus_uses_what_is_left_out_of_long_replies_and_what_the_template_writes() -> None:
    bundle = _bundle.read(_bundle.find(None))
    reading = Runtime(bundle.tokenizer.path)
    template = Template({"user": "asked: ", "assistant": "replied: "}, "\n", " ~ ")
    long = from_prompt("word " * 2000 + "zebra" + " word" * 2000, "why")
    found = vocabulary.used(Reader(bundle, reading), reading, template, [long])
    for text in ("word zebra word", "why", "asked: replied:", "a ~ a"):
        assert set(reading.encode(text)) <= found
    assert not set(reading.encode("giraffe")) <= found
