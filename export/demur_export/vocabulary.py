"""Prunes a tokenizer and its embedding table to what a corpus uses, so that every text can still be read.

Of a multilingual model most weights are embeddings of pieces that texts in one language never use. Texts of the corpus
are read as the same pieces as before; others may take more of them, but lose no character.
"""

import json
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from tokenizers import Tokenizer as Rust

from demur._conversation import Conversation
from demur._markers import clean_surrogates
from demur._reader import Reader
from demur._template import Template, render
from demur._tokenizer import Tokenizer
from demur.errors import CheckpointError
from demur_export.graph.builder import WORDS
from demur_export.graph.editor import Editor
from demur_export.pieces import KEPT, merged


@dataclass(frozen=True)
class Pruned:
    """A tokenizer with fewer entries.

    Attributes:
        text: Its `tokenizer.json`.
        kept: For each id `[entries]` the id that the entry had before.
        before: How many entries there were.
    """

    text: str
    kept: NDArray[np.int64]
    before: int

    def record(
        self,
        corpus: Path,
        conversations: int,
        whole: Sequence[NDArray[np.int64]],
        after: Sequence[NDArray[np.int64]],
    ) -> dict[str, Any]:
        """Return what `demur.json` keeps.

        Args:
            corpus: The file that the vocabulary was pruned for.
            conversations: How many it holds.
            whole: Token ids `[1, n]` of the texts that the bundle is judged by, before.
            after: Those of the same texts now.
        """
        more = sum(ids.size for ids in after) / sum(ids.size for ids in whole) - 1
        return {
            "entries": len(self.kept),
            "of": self.before,
            "corpus": corpus.name,
            "conversations": conversations,
            "more_tokens": round(more, 5),
        }


def used(reader: Reader, tokenizer: Tokenizer, template: Template, conversations: Iterable[Conversation]) -> set[int]:
    """Return the ids that conversations use: as the model reads them, whole, and each message by itself.

    What the template writes between messages, and the ellipsis, is used too.
    """
    marks = [template.ellipsis, template.separator, *template.roles.values()]
    found = {i for mark in marks for text in (mark, f"a{mark}a") for i in tokenizer.encode(text)}
    for conversation in conversations:
        found.update(reader.read(conversation).ids)
        contents = [turn.content for turn in conversation.turns]
        whole = conversation.rendered or render(template.segments(conversation.turns))
        for text in (whole, *contents):
            found.update(tokenizer.encode(clean_surrogates(text)))
    return found


def prune(path: Path, wanted: Set[int]) -> Pruned:
    """Return a tokenizer without the entries that neither `wanted` nor the reading of any other text needs.

    Kept are the entries wanted, special and other added tokens, every single character and byte, and what the
    tokenizer's kind asks for beside them (`demur_export.pieces`). Ids are given anew, in the same order.

    Args:
        path: A `tokenizer.json`, whose model is BPE, Unigram or WordPiece.
        wanted: Ids of entries that are to be kept.

    Raises:
        CheckpointError: The tokenizer is of another kind, or has something that can't be renumbered.
    """
    rust = _load(path.read_text(encoding="utf-8"), path)
    raw = json.loads(rust.to_str())
    raw["padding"] = raw["truncation"] = None
    model, before = raw["model"], rust.get_vocab(with_added_tokens=True)
    kind = model["type"]
    if kind not in KEPT:
        raise CheckpointError(f"{path}: model.type is {kind!r}; vocabularies of {', '.join(KEPT)} can be pruned")
    framed = _ids(raw["post_processor"], path)
    names = {i: piece for piece, i in before.items()}
    asked = {names[i] for i in wanted | framed} | {token["content"] for token in raw["added_tokens"]}
    pieces = list(model["vocab"]) if kind != "Unigram" else [piece for piece, _ in model["vocab"]]
    kept = KEPT[kind](model, asked & set(pieces)) & set(pieces)
    # The model's own entries come first, as tokenizers numbers added ones behind them.
    own = sorted(kept, key=before.__getitem__)
    added = sorted((asked - set(pieces)) & before.keys(), key=before.__getitem__)
    after = {piece: i for i, piece in enumerate([*own, *added])}
    moved = {before[piece]: i for piece, i in after.items()}
    _renumber(raw, after)
    _map_ids(raw["post_processor"], moved, path)
    text = json.dumps(raw, ensure_ascii=False, separators=(",", ":"))
    found = _load(text, path).get_vocab(with_added_tokens=True)
    if found != after:
        odd = sorted(set(found.items()) ^ set(after.items()))[:3]
        raise CheckpointError(f"{path}: entries can't be renumbered, since tokenizers numbers them otherwise: {odd}")
    return Pruned(text, np.array([before[piece] for piece in after], np.int64), len(before))


def select_rows(model: onnx.ModelProto, pruned: Pruned) -> onnx.ModelProto:
    """Return the graph with the embeddings of the kept entries only.

    Raises:
        CheckpointError: The table has no row for one of them.
    """
    editor = Editor(model)
    table = editor.constant(WORDS)
    assert table is not None
    if pruned.kept.max() >= len(table):
        raise CheckpointError(
            f"the tokenizer has an entry {pruned.kept.max()}, but the table of embeddings {len(table)} rows; "
            "expected a row for every entry"
        )
    editor.put(WORDS, table[pruned.kept])
    return editor.model()


def _load(text: str, path: Path) -> Rust:
    try:
        return Rust.from_str(text)
    except Exception as error:  # the binding raises bare Exception for every fault
        raise CheckpointError(f"{path}: not a tokenizer that the tokenizers library reads ({error})") from error


def _renumber(raw: dict[str, Any], after: dict[str, int]) -> None:
    """Leave the entries `after` in a tokenizer's model and among its added tokens, under their new ids."""
    model = raw["model"]
    if model["type"] == "Unigram":
        unknown = None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]
        model["vocab"] = [[piece, score] for piece, score in model["vocab"] if piece in after]
        model["unk_id"] = None if unknown is None else after[unknown]
    else:
        kept = [piece for piece in model["vocab"] if piece in after]
        model["vocab"] = {piece: after[piece] for piece in sorted(kept, key=after.__getitem__)}
    if model["type"] == "BPE":
        whole = model["vocab"]
        model["merges"] = [
            [first, second]
            for first, second in model["merges"]
            if first in whole and second in whole and merged(model, first, second) in whole
        ]
    for token in raw["added_tokens"]:
        token["id"] = after[token["content"]]


def _ids(processor: dict[str, Any] | None, path: Path) -> set[int]:
    """Return the ids that a post-processor puts around texts."""
    found: set[int] = set()

    def note(i: int) -> int:
        found.add(i)
        return i

    _visit(processor, note, path)
    return found


def _map_ids(processor: dict[str, Any] | None, moved: dict[int, int], path: Path) -> None:
    """Give the ids of a post-processor their new numbers, in place."""
    _visit(processor, moved.__getitem__, path)


def _visit(processor: dict[str, Any] | None, change: Callable[[int], int], path: Path) -> None:
    """Replace every id in a post-processor by what `change` makes of it."""
    if processor is None or processor["type"] == "ByteLevel":
        return
    if processor["type"] == "Sequence":
        for one in processor["processors"]:
            _visit(one, change, path)
    elif processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [change(i) for i in token["ids"]]
    elif processor["type"] in ("BertProcessing", "RobertaProcessing"):
        for key in ("sep", "cls"):
            processor[key] = [processor[key][0], change(processor[key][1])]
    else:
        raise CheckpointError(
            f"{path}: post_processor.type is {processor['type']!r}; expected ByteLevel, Sequence, TemplateProcessing, "
            "BertProcessing or RobertaProcessing"
        )
