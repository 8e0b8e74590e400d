"""A tokenizer beside what pruning leaves of it."""

from pathlib import Path

from tokenizers import Tokenizer

from demur_export import vocabulary


class Pair:
    """A tokenizer and what pruning left of it."""

    def __init__(self, full: Tokenizer, folder: Path) -> None:
        self.full, self.path = full, folder / "tokenizer.json"
        full.no_padding()
        full.no_truncation()
        full.save(str(self.path))

    def prune(self, texts: list[str]) -> Tokenizer:
        return Tokenizer.from_str(self.pruned(texts).text)

    def pruned(self, texts: list[str]) -> vocabulary.Pruned:
        return vocabulary.prune(self.path, {i for text in texts for i in self.full.encode(text).ids})


def read(tokenizer: Tokenizer, text: str) -> str:
    decoded: str = tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False)
    return decoded
