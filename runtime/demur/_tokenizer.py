"""Text to token ids. The only module that imports `tokenizers`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as _Rust
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from demur._words import WordMemory, WordPieces, separable
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
        self._words = self._word_memory()
        self._before, self._behind = self._frame()

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text` as the model reads it, special tokens included."""
        if self._words is not None and (found := self._words.encode(text)) is not None:
            return [*self._before, *found, *self._behind]
        ids: list[int] = self._rust.encode(text).ids
        return ids

    def cut(self, ids: list[int], max_tokens: int) -> list[int]:
        """Return encoded `ids` up to `max_tokens` of them, the special tokens behind every text kept."""
        if len(ids) <= max_tokens:
            return ids
        return [*ids[: max_tokens - len(self._behind)], *self._behind]

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

    def _word_memory(self) -> WordMemory | None:
        """Return a memory of words if this tokenizer looks at each word by itself."""
        model, normalizer = self._rust.model, self._rust.normalizer
        by_word = (
            isinstance(model, WordPiece)
            and isinstance(normalizer, BertNormalizer)
            and isinstance(self._rust.pre_tokenizer, BertPreTokenizer)
        )
        added = self._rust.get_added_tokens_decoder().values()
        plain = not any(t.single_word or t.lstrip or t.rstrip or t.normalized for t in added)
        tags = [token.content for token in added]
        if not (by_word and plain and separable(tags)):
            return None
        lookup, unknown = self._rust.token_to_id, self._rust.token_to_id(model.unk_token)
        if unknown is None:
            return WordMemory(self._encode_words, tags)
        pieces = WordPieces(
            lookup, unknown, model.continuing_subword_prefix, model.max_input_chars_per_word, normalizer.lowercase
        )
        return WordMemory(self._encode_words, tags, pieces)

    def _encode_words(self, words: Sequence[str]) -> list[list[int]]:
        encoding = self._rust.encode(words, is_pretokenized=True, add_special_tokens=False)
        found: list[list[int]] = [[] for _ in words]
        for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
            assert word is not None  # only special tokens belong to no word
            found[word].append(token)
        return found

    def _frame(self) -> tuple[list[int], list[int]]:
        """Return the special tokens that stand before and behind every text."""
        bare, whole = self._rust.encode("a", add_special_tokens=False).ids, self._rust.encode("a").ids
        start = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
        return whole[:start], whole[start + len(bare) :]
