"""Keeps content from posing as structure: role tags and special tokens inside a message are broken up."""

import re
from collections.abc import Iterable

# Lone surrogates can come out of a JSON file and cannot be encoded as UTF-8; the tokenizer would reject them.
_SURROGATES = re.compile("[\ud800-\udfff]")

# Characters that a tokenizer's normaliser may turn into the first character of a marker (NFKC look-alikes).
_OPENERS = re.compile("[<\uff1c\ufe64\\[\uff3b\ufe47]")


def clean_surrogates(text: str) -> str:
    """Return `text` with every lone surrogate replaced by U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


class Neutraliser:
    """Breaks up a bundle's markers where they stand inside content.

    A marker is broken by a space behind its first character: `<|user|>` becomes `< |user|>`. That reads the
    same to a person, and no tokenizer takes it for the added token any more.

    Args:
        markers: Role tags and special tokens of one bundle. Matching ignores case, since uncased models do.
    """

    def __init__(self, markers: Iterable[str]) -> None:
        # Longest first, so that a marker that is another's beginning does not hide it.
        ordered = sorted({m for m in markers if m}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)), re.IGNORECASE) if ordered else None

    def __call__(self, content: str) -> str:
        """Return `content` with every marker broken up and every lone surrogate replaced by U+FFFD."""
        content = clean_surrogates(content)
        if self._pattern is None:
            return content
        return self._pattern.sub(lambda match: f"{match[0][0]} {match[0][1:]}", content)


def harden(content: str) -> str:
    """Return `content` with a space behind every character that could open a marker after normalisation.

    The last resort for text that spells a marker in a way only the tokenizer's normaliser sees, such as
    full-width brackets or a zero-width character inside the tag.
    """
    return _OPENERS.sub(lambda match: f"{match[0]} ", content)
