"""Gives a checkpoint's vocabulary pieces of more languages, in the place of entries that no English text here uses.

python models/training/vocabulary.py --data DATA/train.jsonl.gz --start CHECKPOINT --out CHECKPOINT

The number of entries stays, so neither size nor speed changes, but a text that is not English takes fewer tokens: more
of it is read within the budget, and sooner. A new piece begins with the mean of the embeddings of the pieces that it
was read as before. The checkpoint has to be trained further before it is of use.
"""

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from data import Row, read, read_authored, split

WORD_EMBEDDINGS = "bert.embeddings.word_embeddings.weight"
PREFIX = "##"
ENGLISH = ("en", "other", "ru-code")  # of the collected rows' languages; the last two are mostly code
# A language counts for the learner by its words to this power, so that those with few texts get pieces too.
FLATTENED = 0.6
LEARN_FROM = 6_000_000  # occurrences of words, all languages together

Words = Mapping[str, Mapping[str, int]]  # occurrences of normalised words by language


def main() -> None:
    """Read a checkpoint, write one with other pieces."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl.gz")
    parser.add_argument("--start", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--out", type=Path, required=True, metavar="CHECKPOINT")
    parser.add_argument("--pieces", type=int, default=8000, metavar="N", help="entries to replace (%(default)s)")
    options = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(options.start / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    collected, _ = split(read(options.data))
    words = count_words([*collected, *read_authored()[0]], tokenizer)
    unused = unused_entries(words, tokenizer)
    learned = learn(words, tokenizer, options.pieces)
    if len(unused) < len(learned):
        raise SystemExit(f"only {len(unused)} entries are free; --pieces {len(unused)} at most")
    places = dict(zip(learned, unused, strict=False))
    shutil.copytree(options.start, options.out, dirs_exist_ok=True)
    weights = load_file(options.start / "model.safetensors")
    weights[WORD_EMBEDDINGS] = embeddings(weights[WORD_EMBEDDINGS], places, tokenizer)
    save_file(weights, options.out / "model.safetensors", {"format": "pt"})
    replace(options.out / "tokenizer.json", places)
    after = Tokenizer.from_file(str(options.out / "tokenizer.json"))
    for lang in sorted(words):
        print(
            f"{lang}: {per_word(words[lang], tokenizer):.2f} tokens a word before, {per_word(words[lang], after):.2f}"
        )


def count_words(rows: Sequence[Row], tokenizer: Tokenizer) -> Words:
    """Return how often each word, normalised, occurs in prompts and responses."""
    words: dict[str, Counter[str]] = {}
    for row in rows:
        for text in (row.prompt[:3000], row.response):
            normal = tokenizer.normalizer.normalize_str(text)
            found = words.setdefault(row.lang, Counter())
            found.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return words


def unused_entries(words: Words, tokenizer: Tokenizer) -> list[int]:
    """Return the ids of pieces of more than one character, those least used in English texts first.

    Pieces of one character stay, so that every word that could be spelled still can.
    """
    used: Counter[int] = Counter()
    for lang in ENGLISH:
        if lang in words:
            for word, ids in pieces(words[lang], tokenizer):
                for i in ids:
                    used[i] += words[lang][word]
    entries = tokenizer.get_vocab(with_added_tokens=False)
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    free = [i for piece, i in entries.items() if len(piece.removeprefix(PREFIX)) > 1 and piece not in added]
    # Of entries used equally often the later ones, which were rarer in what the base was made from.
    return sorted(free, key=lambda i: (used[i], -i))


def pieces(words: Mapping[str, int], tokenizer: Tokenizer) -> Iterator[tuple[str, list[int]]]:
    """Yield each word with its token ids."""
    every = list(words)
    for encoding, word in zip(
        tokenizer.encode_batch([[w] for w in every], is_pretokenized=True, add_special_tokens=False), every, strict=True
    ):
        yield word, encoding.ids


def learn(words: Words, tokenizer: Tokenizer, count: int) -> list[str]:
    """Return new pieces, merged as in WordPiece's training, most useful first."""
    weights = {lang: sum(found.values()) ** (FLATTENED - 1) for lang, found in words.items() if lang not in ENGLISH}
    total = sum(weights[lang] * sum(words[lang].values()) for lang in weights)

    def occurrences() -> Iterator[str]:
        for lang, weight in weights.items():
            for word, times in words[lang].items():
                yield " ".join([word] * round(times * weight / total * LEARN_FROM))

    entries = tokenizer.get_vocab(with_added_tokens=False)
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(vocab_size=4 * count, min_frequency=20, show_progress=False)
    learner.train_from_iterator(occurrences(), trainer)
    # Pieces have ids in the order in which they were merged, the most frequent first.
    made = sorted(learner.get_vocab().items(), key=lambda pair: pair[1])
    return [piece for piece, _ in made if piece not in entries and len(spell(piece, entries)) > 1][:count]


def embeddings(table: NDArray[np.float32], places: Mapping[str, int], tokenizer: Tokenizer) -> NDArray[np.float32]:
    """Return the table with a row for each new piece: the mean of those that spelled it before."""
    made = table.copy()
    entries = tokenizer.get_vocab(with_added_tokens=False)
    for piece, place in places.items():
        made[place] = table[spell(piece, entries)].mean(0)
    return made


def spell(piece: str, entries: Mapping[str, int]) -> list[int]:
    """Return the ids of the entries that spell a piece, the longest first; none if its characters are no entries."""
    ids: list[int] = []
    rest, prefix = piece.removeprefix(PREFIX), PREFIX if piece.startswith(PREFIX) else ""
    while rest:
        end = next((n for n in range(len(rest), 0, -1) if prefix + rest[:n] in entries), 0)
        if not end:
            return []
        ids.append(entries[prefix + rest[:end]])
        rest, prefix = rest[end:], PREFIX
    return ids


def replace(path: Path, places: Mapping[str, int]) -> None:
    """Put the new pieces in their places in a `tokenizer.json`."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    by_place = {i: piece for piece, i in places.items()}
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {by_place.get(i, piece): i for piece, i in vocabulary.items()}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


def per_word(words: Mapping[str, int], tokenizer: Tokenizer) -> float:
    """Return how many tokens an average word takes."""
    return sum(len(ids) * words[word] for word, ids in pieces(words, tokenizer)) / max(1, sum(words.values()))


if __name__ == "__main__":
    main()
