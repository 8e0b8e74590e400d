"""Text to token ids. The only module that imports `tokenizers`."""

from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as _Rust

from demur.errors import TokenizerError


class Span(NamedTuple):
    """Where one token lies in its text: characters `start` up to `end`."""

    start: int
    end: int


class Tokenizer:
    """A `tokenizer.json`, never padding and never truncating: demur decides what is left out.

    Args:
        path: The bundle's `tokenizer.json`.

    Raises:
        TokenizerError: The file is not one that `tokenizers` reads.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._rust = _Rust.from_file(str(path))
        except Exception as error:  # the binding raises bare Exception for every fault
            raise TokenizerError(f"{path}: not a tokenizer that the tokenizers library reads ({error})") from error
        self._rust.no_padding()
        self._rust.no_truncation()
        self.special_tokens = self._rust.num_special_tokens_to_add(False)
        added = self._rust.get_added_tokens_decoder()
        unknown = getattr(self._rust.model, "unk_token", None)
        self.added: dict[str, int] = {token.content: i for i, token in added.items()}
        # Special tokens that stand for structure; the one for unknown text stands for text.
        self.special: dict[str, int] = {
            token.content: i for i, token in added.items() if token.special and token.content not in (unknown, "<unk>")
        }

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text` as the model reads it, special tokens included."""
        ids: list[int] = self._rust.encode(text).ids
        return ids

    def spans(self, text: str) -> list[Span]:
        """Return where each token of `text` lies in it, special tokens left out."""
        return [Span(*offsets) for offsets in self._rust.encode(text, add_special_tokens=False).offsets]

    def count(self, text: str) -> int:
        """Return how many tokens `text` takes, special tokens left out."""
        return len(self._rust.encode(text, add_special_tokens=False))

    def decode(self, ids: list[int]) -> str:
        """Return the text that `ids` spell, special tokens included."""
        text: str = self._rust.decode(ids, skip_special_tokens=False)
        return text
