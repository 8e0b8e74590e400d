"""A pruned tokenizer reads whatever the full one reads, and the texts that it was pruned for as the same pieces."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demur.errors import CheckpointError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

import _checkpoints
from _pruned import Pair, read
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from demur_export import vocabulary
from demur_export.graph.bert import WORDS
from demur_export.graph.builder import Builder
from demur_export.graph.editor import Editor

BYTES = [f"<0x{i:02X}>" for i in range(256)]
TEXTS = _checkpoints.corpus_texts()
KEPT_TEXTS = TEXTS[:24]


def bytes_bpe(folder: Path) -> Tokenizer:
    _checkpoints.write_bytes_tokenizer(folder, 800)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def unigram(folder: Path) -> Tokenizer:
    _checkpoints.write_unigram_tokenizer(folder, 1800)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def unigram_with_bytes(folder: Path) -> Tokenizer:
    """As Unigram models with `byte_fallback` are: what is no piece is spelled in bytes."""
    _checkpoints.write_unigram_tokenizer(folder, 1800)
    raw = json.loads((folder / "tokenizer.json").read_text())
    learned = [(piece, score) for piece, score in raw["model"]["vocab"] if len(piece) > 1 or piece.isascii()]
    rust = Tokenizer(models.Unigram([*((b, -8.0) for b in BYTES), *learned], unk_id=259, byte_fallback=True))
    rust.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    rust.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    rust.add_special_tokens(_checkpoints.TAGS)
    first, last = ((tag, rust.token_to_id(tag)) for tag in _checkpoints.TAGS[1:3])
    rust.post_processor = processors.Sequence([processors.BertProcessing(last, first)])
    return rust


def wordpiece(_: Path) -> Tokenizer:
    rust = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    rust.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(vocab_size=2500, special_tokens=_checkpoints.SPECIAL, show_progress=False)
    )
    rust.decoder = decoders.WordPiece(cleanup=False)
    rust.add_special_tokens(_checkpoints.TAGS)
    rust.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return rust


def characters_bpe(_: Path) -> Tokenizer:
    """BPE of characters, the last of a word marked: what was in no text that it was trained on is unknown."""
    rust = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", fuse_unk=True))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=2500, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    rust.train_from_iterator(TEXTS, trainer)
    rust.decoder = decoders.BPEDecoder("</w>")
    rust.add_special_tokens(["<s>"])
    rust.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", rust.token_to_id("<s>"))])
    return rust


def bpe_with_bytes(_: Path) -> Tokenizer:
    """BPE of characters that spells what it doesn't know in bytes."""
    rust = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=2500, special_tokens=["<unk>", *BYTES], show_progress=False)
    rust.train_from_iterator([text for text in TEXTS if text.isascii()], trainer)
    raw = json.loads(rust.to_str())
    raw["model"]["byte_fallback"], raw["added_tokens"] = True, raw["added_tokens"][:1]
    made = Tokenizer.from_str(json.dumps(raw))
    made.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return made


KINDS: dict[str, Callable[[Path], Tokenizer]] = {
    made.__name__: made for made in (wordpiece, unigram, unigram_with_bytes, bytes_bpe, characters_bpe, bpe_with_bytes)
}


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    return Pair(KINDS[request.param](folder), folder)


@pytest.fixture(scope="module")
def small(pair: Pair) -> Tokenizer:
    return pair.prune(KEPT_TEXTS)


def test_texts_of_the_corpus_are_the_same_pieces_as_before(pair: Pair, small: Tokenizer) -> None:
    assert small.get_vocab_size() < pair.full.get_vocab_size()
    for text in KEPT_TEXTS:
        assert small.encode(text).tokens == pair.full.encode(text).tokens


def test_other_texts_take_more_pieces_and_lose_nothing(pair: Pair, small: Tokenizer) -> None:
    assert all(read(small, text) == read(pair.full, text) for text in TEXTS)
    before, after = ([len(t.encode(text).ids) for text in TEXTS] for t in (pair.full, small))
    assert sum(after) > sum(before)


words = st.sampled_from(sorted({word for text in TEXTS for word in text.split()}))
odd = st.sampled_from([*_checkpoints.TAGS, "<s>", "<unk>", "[MASK]", "<0x41>", "##a", "</w>", "\u2581", " ", "\n"])


@given(parts=st.lists(st.text(max_size=12) | words | odd, max_size=8))
@settings(max_examples=80)
def test_any_text_reads_as_before(pair: Pair, small: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts).encode("utf-8", "replace").decode()
    assert read(small, text) == read(pair.full, text)


@given(corpus=st.lists(words, max_size=5), text=st.text(max_size=20) | words)
@settings(max_examples=8)
def test_any_corpus_will_do(pair: Pair, corpus: list[str], text: str) -> None:
    small = pair.prune(corpus)
    assert read(small, text) == read(pair.full, text)
    assert [small.encode(word).tokens for word in corpus] == [pair.full.encode(word).tokens for word in corpus]


def test_embeddings_go_with_their_pieces(pair: Pair) -> None:
    b, rng = Builder(), np.random.default_rng(0)
    table = rng.standard_normal((pair.full.get_vocab_size() + 7, 4), dtype=np.float32)
    b.add("Gather", "logits", [b.constant(WORDS, table), "token_ids"])
    pruned = pair.pruned(KEPT_TEXTS)
    rows = Editor(vocabulary.select_rows(b.model(2, 16), pruned)).constant(WORDS)
    small = Tokenizer.from_str(pruned.text)
    assert rows is not None
    assert len(rows) == small.get_vocab_size()
    for text in KEPT_TEXTS:
        assert (rows[small.encode(text).ids] == table[pair.full.encode(text).ids]).all()


def test_an_entry_without_an_embedding_is_an_error(pair: Pair) -> None:
    b = Builder()
    table = np.zeros((pair.full.get_vocab_size() // 2, 4), np.float32)
    b.add("Gather", "logits", [b.constant(WORDS, table), "token_ids"])
    with pytest.raises(CheckpointError, match=rf"an entry \d+, but the table of embeddings {len(table)} rows"):
        vocabulary.select_rows(b.model(2, 16), pair.pruned(TEXTS))


def test_the_file_numbers_added_tokens_as_they_are_read(small: Tokenizer, pair: Pair) -> None:
    added = json.loads(pair.pruned(KEPT_TEXTS).text)["added_tokens"]
    assert {token["content"]: token["id"] for token in added} == {
        token["content"]: small.token_to_id(token["content"]) for token in added
    }


def test_pruning_again_for_the_same_texts_changes_nothing(pair: Pair, small: Tokenizer, tmp_path: Path) -> None:
    again = Pair(small, tmp_path).prune(KEPT_TEXTS)
    assert again.get_vocab() == small.get_vocab()
