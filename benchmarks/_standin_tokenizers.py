"""Tokenizers of the published kinds and sizes, learned from demur's own texts and filled up with pieces of no text.

Sizes, special tokens and their ids are those of the published vocabularies; which pieces stand in between is not: a
few megabytes of text give fewer pieces than a vocabulary has, so that the rest are made up, of letters at random, and
are all but never used. A text takes somewhat more tokens than with the published tokenizer.
"""

import json
import random
import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from math import log
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from _common import AUTHORED
from demur._conversation import Turn
from demur._template import Template, render
from demur_export import corpus

# agentlans' role tags and ellipsis, added behind the vocabulary as special tokens, as the model card names them.
TAGS = ("<|system|>", "<|user|>", "<|assistant|>", "<|...|>")
# The longest pieces that are learned, in letters: of a word's beginning, and of the rest.
_LONGEST_FIRST, _LONGEST_INNER = 10, 5
_SPACE = "\u2581"


def texts(everything: bool) -> list[str]:
    """Return what tokenizers are learned from: the export's corpus, or that and all authored conversations."""
    paths = [corpus.OWN, *(sorted(AUTHORED.glob("*/*.jsonl")) if everything else [])]
    rows = (json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines())
    return [row[key] for row in rows for key in ("prompt", "response")]


def conversations(template: Template) -> list[str]:
    """Return the export's corpus as a model reads it, with everything that opens a turn."""
    rows = [json.loads(line) for line in corpus.OWN.read_text(encoding="utf-8").splitlines()]
    turns = ((Turn("user", row["prompt"]), Turn("assistant", row["response"])) for row in rows)
    return [render(template.segments(pair)) for pair in turns]


def wordpiece(lines: Sequence[str], size: int, seed: int) -> PreTrainedTokenizerFast:
    """Return an uncased WordPiece tokenizer with BERT's special ids (0, 100 to 103) and the role tags behind it."""
    named = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    split = (splitter.pre_tokenize_str(normalizer.normalize_str(line)) for line in lines)
    counts = _count_pieces(Counter(word for words in split for word, _ in words), "", "##")
    single = _by_saving(counts, {piece for piece in counts if len(piece.removeprefix("##")) == 1})
    found = [*named, *single[: size // 8], *_by_saving(counts, counts.keys() - set(single))][:size]
    vocabulary = _filled(found, size, (f"##{piece}" for piece in _made_up(seed, 12)))
    rust = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    rust.normalizer, rust.pre_tokenizer = normalizer, splitter
    rust.decoder = decoders.WordPiece()
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 101), ("[SEP]", 102)]
    )
    rust.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    _add_tags(rust)
    return _wrapped(
        rust, 512, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]"
    )


def unigram(lines: Sequence[str], size: int, seed: int) -> PreTrainedTokenizerFast:
    """Return a Unigram tokenizer with XLM-R's special ids (0 to 3, the mask last) and the role tags behind it.

    Its pieces are the most frequent substrings of words, by how many characters they save, each with the logarithm
    of its share as its score; a piece that is made up has less than any of them.
    """
    words = Counter(word for line in lines for word in normalizers.NFKC().normalize_str(line).split())
    counts = _count_pieces(words, _SPACE, "")
    counts[_SPACE] = words.total()
    single = sorted(piece for piece in counts if len(piece) == 1)
    room = size - 5
    kept = [*single, *_by_saving(counts, {p for p in counts if len(p) > 1 and counts[p] > 1})][:room]
    total = sum(counts[piece] for piece in kept)
    scored = [(piece, log(counts[piece] / total)) for piece in sorted(kept, key=lambda p: (-counts[p], p))]
    least = scored[-1][1] - 1
    pieces = _filled([piece for piece, _ in scored], room, _made_up(seed, 8))
    scored += [(piece, least) for piece in pieces[len(scored) :]]
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    rust = Tokenizer(models.Unigram([*special, *scored, ("<mask>", 0.0)], unk_id=3))
    rust.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    space = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    rust.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    rust.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    rust.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    _add_specials(rust, ["<s>", "<pad>", "</s>", "<unk>"], "<mask>")
    _add_tags(rust)
    return _wrapped(rust, 512, **_ROBERTA, cls_token="<s>", sep_token="</s>", mask_token="<mask>")


def byte_bpe(lines: Sequence[str], size: int, seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with RoBERTa's special ids (0 to 3, the mask last)."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary, merges = _learn_bpe(lines, size - 1, special, seed)
    vocabulary["<mask>"] = size - 1
    rust = Tokenizer(models.BPE(vocabulary, merges))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), add_prefix_space=False)
    _add_specials(rust, special, "<mask>")
    return _wrapped(rust, 512, **_ROBERTA, cls_token="<s>", sep_token="</s>", mask_token="<mask>")


def modern_bpe(lines: Sequence[str], size: int, seed: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer laid out as ModernBERT's.

    Of the published 50,368 entries, the last 88 are `[UNK]` (50,280), `[CLS]`, `[SEP]`, `[PAD]`, `[MASK]` (50,284)
    and 83 unused ones; before them stand runs of spaces, longest first, and three further names.
    """
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    runs = [" " * n for n in range(24, 1, -1)]
    named = ["|||EMAIL_ADDRESS|||", "|||PHONE_NUMBER|||", "<|endoftext|>"]
    tail = [*runs, *named, *special, *(f"[unused{i}]" for i in range(83))]
    vocabulary, merges = _learn_bpe(lines, size - len(tail), ["|||IP_ADDRESS|||", "<|padding|>"], seed)
    rust = Tokenizer(models.BPE(vocabulary, merges))
    rust.normalizer = normalizers.NFC()
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    rust.decoder = decoders.ByteLevel()
    for token in tail:
        if token in special:
            rust.add_special_tokens([AddedToken(token, special=True, normalized=False, lstrip=token == "[MASK]")])
        else:
            rust.add_tokens([AddedToken(token, special=False, normalized=token not in named)])
    start = size - 88
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", start + 1), ("[SEP]", start + 2)],
    )
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), special, strict=True))
    return _wrapped(rust, 8192, **names, model_input_names=["input_ids", "attention_mask"])


_ROBERTA = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def _count_pieces(words: Counter[str], first: str, inner: str) -> Counter[str]:
    """Count what words begin with, with `first` before it, and shorter parts of them, with `inner` before those."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for end in range(1, min(len(word), _LONGEST_FIRST) + 1):
            counts[first + word[:end]] += count
        for start in range(len(word)):
            for end in range(start + 1, min(start + _LONGEST_INNER, len(word)) + 1):
                counts[inner + word[start:end]] += count
    return counts


def _by_saving(counts: Counter[str], pieces: Set[str]) -> list[str]:
    """Return pieces by how many characters they cover in the texts, most first."""
    return sorted(pieces, key=lambda piece: (-counts[piece] * len(piece), piece))


def _learn_bpe(
    lines: Iterable[str], size: int, special: list[str], seed: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level BPE vocabulary of exactly `size` entries, `special` first, and its merges."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learned.train_from_iterator(lines, trainer)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    vocabulary = {piece: i for i, piece in enumerate(_in_order(learned.get_vocab()))}
    # Further merges, of long pieces that hardly ever stand side by side, come last and so rank last.
    chance = random.Random(seed)
    long = [piece for piece in vocabulary if len(piece) > 3 and piece.isascii() and piece.isalpha()]
    while len(vocabulary) < size:
        left, right = chance.choice(long), chance.choice(long)
        if left + right not in vocabulary:
            merges.append((left, right))
            vocabulary[left + right] = len(vocabulary)
    return vocabulary, merges


def _add_specials(rust: Tokenizer, special: list[str], mask: str) -> None:
    # normalized=False, as published: a special token is found as it is written.
    rust.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    rust.add_special_tokens([AddedToken(mask, special=True, normalized=False, lstrip=True)])


def _add_tags(rust: Tokenizer) -> None:
    rust.add_special_tokens([AddedToken(tag, special=True, normalized=False) for tag in TAGS])


def _in_order(vocabulary: dict[str, int]) -> list[str]:
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _filled(pieces: list[str], size: int, spare: Iterator[str]) -> list[str]:
    """Return `pieces` and as many of `spare` as make `size` different ones."""
    found = dict.fromkeys(pieces)
    while len(found) < size:
        found[next(spare)] = None
    return list(found)


def _made_up(seed: int, length: int) -> Iterator[str]:
    chance = random.Random(seed)
    while True:
        yield "".join(chance.choices(string.ascii_lowercase, k=length))


def _wrapped(rust: Tokenizer, max_length: int, **names: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=rust, model_max_length=max_length, **names)


def save(tokenizer: PreTrainedTokenizerFast, folder: Path, name: str) -> None:
    """Write a tokenizer as transformers does, under the name of the class that the published one has."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": name}, indent=2) + "\n")
