"""Which pieces a vocabulary can't do without, so that a tokenizer with fewer of them still reads every text.

A text that a tokenizer reads without its unknown token is one whose characters it knows, so every character that it
knows has to keep a piece of its own. Beyond that each kind of tokenizer finds its pieces in another way, and texts
whose pieces were all kept must be cut at the same places as before.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

# SentencePiece's pieces for single bytes, as tokenizers names them (`byte_fallback`).
_BYTE = re.compile("<0x[0-9A-F]{2}>")


def wordpiece(model: Mapping[str, Any], used: Set[str]) -> set[str]:
    """Return the pieces to keep of a WordPiece model: those used, and every character at each place that it can have.

    WordPiece takes the longest piece from the left, so a word is cut as before if its pieces are kept.

    Args:
        model: The `model` of a `tokenizer.json`.
        used: Pieces of the texts that matter.
    """
    pieces, prefix = set(model["vocab"]), model["continuing_subword_prefix"]

    def places(piece: str) -> set[str]:
        """Each character of a piece as the piece that it would be by itself."""
        behind = piece.removeprefix(prefix) if piece != prefix else piece
        inside = {prefix + c for c in behind[1:]}
        return inside | ({prefix + behind[0]} if behind != piece else {piece[:1]})

    return {model["unk_token"], *used} & pieces | _spelling(pieces, places)


def unigram(model: Mapping[str, Any], used: Set[str]) -> set[str]:
    """Return the pieces to keep of a Unigram model: those used, every character, byte pieces and the least likely one.

    Unigram takes the cut of the highest score, which is still the highest among fewer.

    Args:
        model: The `model` of a `tokenizer.json`.
        used: Pieces of the texts that matter.
    """
    scores = dict(model["vocab"])
    unknown = set() if model["unk_id"] is None else {model["vocab"][model["unk_id"]][0]}
    # subtle: what an unknown character costs hangs on the lowest score of all (`min_score` in tokenizers' Unigram).
    lowest = min(scores, key=lambda piece: scores[piece])
    return {lowest, *unknown, *used, *filter(_BYTE.fullmatch, scores)} | _spelling(scores.keys(), set)


def bpe(model: Mapping[str, Any], used: Set[str]) -> set[str]:
    """Return the pieces to keep of a BPE model: those used, all that these are merged from, every character and byte.

    BPE applies merges in a fixed order. Those that lead to a kept piece are kept, so that a text of kept pieces goes
    through the same steps; every text begins as single characters or bytes.

    Args:
        model: The `model` of a `tokenizer.json`.
        used: Pieces of the texts that matter.
    """
    prefix, suffix = model["continuing_subword_prefix"] or "", model["end_of_word_suffix"] or ""
    kept = {
        piece
        for piece in model["vocab"]
        if len(piece.removeprefix(prefix)) == 1
        or len(piece.removesuffix(suffix)) == 1
        or len(piece.removeprefix(prefix).removesuffix(suffix)) == 1
        or _BYTE.fullmatch(piece)
    }
    parts: dict[str, set[str]] = {}
    for first, second in model["merges"]:
        parts.setdefault(merged(model, first, second), set()).update((first, second))
    kept.update({model["unk_token"]} & model["vocab"].keys())
    waiting = list(used)
    while waiting:
        piece = waiting.pop()
        if piece not in kept:
            kept.add(piece)
            waiting.extend(parts.get(piece, ()))
    return kept


def merged(model: Mapping[str, Any], first: str, second: str) -> str:
    """Return the piece that a BPE model's merge of two makes."""
    return first + second.removeprefix(model["continuing_subword_prefix"] or "")


KEPT: dict[str, Callable[[Mapping[str, Any], Set[str]], set[str]]] = {
    "WordPiece": wordpiece,
    "Unigram": unigram,
    "BPE": bpe,
}


def _spelling(pieces: Set[str], places: Callable[[str], Iterable[str]]) -> set[str]:
    """Return the pieces that spell whatever `pieces` spell: single characters, and longer ones where one is missing.

    Args:
        pieces: The whole vocabulary.
        places: Gives the single-character pieces that a piece can be spelled with.
    """
    needed: set[str] = set()
    for piece in pieces:
        needed.update(places(piece))
    missing = needed - pieces
    return needed & pieces | (
        {piece for piece in pieces if not missing.isdisjoint(places(piece))} if missing else set()
    )
