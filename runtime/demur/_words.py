"""Remembers the token ids of words: most of a text's words were in texts before it."""

import re
import string
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

# White space to Python that BERT's normaliser drops without a trace, so that the words beside it become one
# (control characters; `clean_text` in tokenizers' BertNormalizer).
_VANISHING = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
_PUNCTUATION = re.escape(string.punctuation)
_WORD, _MARK = f"[^\\s{_PUNCTUATION}]+", f"[{_PUNCTUATION}]"
# Characters of the longest word that is remembered; what is longer is seldom met twice.
_LONGEST = 40
# Words remembered, at about 170 bytes each.
_MOST = 32_768

EncodeWords = Callable[[Sequence[str]], list[list[int]]]


def separable(tags: Sequence[str]) -> bool:
    """Whether a text can be parted at `tags` from its beginning on, as no tag overlaps another or holds one.

    A tag has to begin with punctuation, so that no word reaches into it.
    """
    return all(tag[:1] in string.punctuation for tag in tags if tag) and not any(
        not tag or _overlap(tag, other) or (tag != other and tag in other) for tag in tags for other in tags
    )


def _overlap(first: str, second: str) -> bool:
    """Whether the end of `first` is the beginning of `second`."""
    return any(first.endswith(second[:k]) for k in range(1, min(len(first), len(second))))


class WordPieces(NamedTuple):
    """WordPiece of plain words: the longest piece first (Wu et al. 2016, section 4.1; as in BERT's tokenizer).

    A few look-ups take a tenth of the time that a call of the whole tokenizer takes.
    """

    lookup: Callable[[str], int | None]
    unknown: int
    prefix: str  # of pieces behind the first
    longest: int  # characters; a longer word is unknown
    lowercase: bool

    def encode(self, word: str) -> list[int] | None:
        """Return a word's ids; None if it is not made of ASCII letters and digits alone, which need no normalising."""
        if not (word.isascii() and word.isalnum()):
            return None
        if len(word) > self.longest:
            return [self.unknown]
        rest, ids = word.lower() if self.lowercase else word, list[int]()
        while rest:
            for end in range(len(rest), 0, -1):
                found = self.lookup(self.prefix + rest[:end] if ids else rest[:end])
                if found is not None:
                    break
            else:
                return [self.unknown]
            ids.append(found)
            rest = rest[end:]
        return ids


class WordMemory:
    """Token ids of texts, put together from those of their words.

    For tokenizers that split at white space and at punctuation and then look at nothing beyond a word, such as BERT's:
    there the ids of a text are those of its words in a row. Safe to share among threads.

    Args:
        encode_words: Returns the ids of each word, special tokens left out.
        tags: Strings that are tokens wherever they stand; none overlaps another.
        pieces: A faster way for plain words.
    """

    def __init__(self, encode_words: EncodeWords, tags: Sequence[str], pieces: WordPieces | None = None) -> None:
        self._encode_words, self._pieces = encode_words, pieces
        self._part = re.compile("|".join([_WORD, *map(re.escape, tags), _MARK])).findall
        self._known: dict[str, tuple[int, ...]] = {}
        self._numbers: dict[int, int] = {}

    def encode(self, text: str) -> list[int] | None:
        """Return the ids of `text`, special tokens left out; None if it has to be tokenised as a whole."""
        if _VANISHING.search(text):
            return None
        words = self._part(text)
        # subtle: read once, since another thread may put an empty memory in its place.
        known = self._known
        try:
            return list(chain.from_iterable([known[word] for word in words]))
        except KeyError:
            found = self._encode_new([word for word in dict.fromkeys(words) if word not in known])
        ids = list(chain.from_iterable([found[word] if word in found else known[word] for word in words]))
        if len(known) + len(found) > _MOST:
            self._known = {}
        # subtle: an id is one number however many words have it, since the numbers would be the larger half.
        one = self._numbers.setdefault
        self._known.update((word, tuple(map(one, part, part))) for word, part in found.items() if len(word) <= _LONGEST)
        return ids

    def _encode_new(self, words: Sequence[str]) -> dict[str, list[int]]:
        plain = self._pieces.encode if self._pieces else lambda _: None
        found = {word: ids for word in words if (ids := plain(word)) is not None}
        rest = [word for word in words if word not in found]
        return found | dict(zip(rest, self._encode_words(rest), strict=True)) if rest else found
