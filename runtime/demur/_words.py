"""Remembers the token ids of words: most of a text's words were in texts before it."""

import re
from collections.abc import Callable, Sequence
from itertools import chain

# White space to Python that BERT's normaliser drops without a trace, so that the words beside it become one
# (control characters; `clean_text` in tokenizers' BertNormalizer).
_VANISHING = re.compile("[\x0b\x0c\x1c-\x1f\x85]")
# Characters of the longest word that is remembered; what is longer is seldom met twice.
_LONGEST = 40
# Words remembered, at about 250 bytes each.
_MOST = 32_768

EncodeWords = Callable[[Sequence[str]], list[list[int]]]


def separable(tags: Sequence[str]) -> bool:
    """Whether a text can be parted at `tags` in any order: none has white space, holds another or overlaps one."""
    return all(tag.split() == [tag] for tag in tags) and not any(
        _overlap(a, b) or (a != b and a in b) for a in tags for b in tags
    )


def _overlap(first: str, second: str) -> bool:
    """Whether the end of `first` is the beginning of `second`."""
    return any(first.endswith(second[:k]) for k in range(1, min(len(first), len(second))))


class WordMemory:
    """Token ids of texts, put together from those of their words.

    For tokenizers that split at white space and then look at nothing beyond a word, such as BERT's: there the ids of a
    text are those of its words in a row. Safe to share among threads.

    Args:
        encode_words: Returns the ids of each word, special tokens left out.
        tags: Strings that are tokens wherever they stand, inside words too.
    """

    def __init__(self, encode_words: EncodeWords, tags: Sequence[str]) -> None:
        self._encode_words, self._tags = encode_words, tags
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int] | None:
        """Return the ids of `text`, special tokens left out; None if it has to be tokenised as a whole."""
        if _VANISHING.search(text):
            return None
        for tag in self._tags:
            text = text.replace(tag, f" {tag} ")
        words = text.split()
        # subtle: read once, since another thread may put an empty memory in its place.
        known = self._known
        try:
            return list(chain.from_iterable([known[word] for word in words]))
        except KeyError:
            new = [word for word in dict.fromkeys(words) if word not in known]
        found = dict(zip(new, self._encode_words(new), strict=True))
        ids = list(chain.from_iterable([found[word] if word in found else known[word] for word in words]))
        if len(known) + len(found) > _MOST:
            self._known = {}
        self._known.update((word, part) for word, part in found.items() if len(word) <= _LONGEST)
        return ids
