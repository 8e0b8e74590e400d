"""Which texts share a run where that gains something, as it does on a GPU, and how they are padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from demur._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


def plan(lengths: Sequence[int], budget: int, *, padded: bool) -> list[list[int]]:
    """Return which texts share a run, as their places: neighbours by length, so that little is padded.

    A run's texts, all as long as its longest, are `budget` tokens at most; a text that is longer runs alone. The
    longest runs come first: what memory they need is then there for all others, and a budget beyond it fails at once.

    Args:
        lengths: Tokens of each text.
        budget: Tokens to a run, padding included.
        padded: Whether texts of different length may share a run.
    """
    runs: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        last = runs[-1] if runs else []
        longest = lengths[last[0]] if last else 0
        fits = longest * (len(last) + 1) <= budget and (padded or lengths[place] == longest)
        if last and fits:
            last.append(place)
        else:
            runs.append([place])
    return runs


def pad(texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return token ids int64 `[texts, longest]` and their mask, which is None where all are of one length.

    What pads is 0: no token at all as far as the mask goes, and within every table of embeddings.
    """
    lengths = np.array([len(text) for text in texts])
    ids = np.zeros((len(texts), int(lengths.max())), np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    if (lengths == ids.shape[1]).all():
        return ids, None
    return ids, (np.arange(ids.shape[1]) < lengths[:, None]).astype(np.int64)


def logits(session: Session, texts: Sequence[Sequence[int]], budget: int) -> list[list[float]]:
    """Return the logits of each text, in the texts' order.

    Args:
        session: What runs them; texts are padded only where it takes a mask.
        texts: Token ids of each.
        budget: Tokens to a run; see `plan`.
    """
    found: list[list[float]] = [[] for _ in texts]
    for run in plan([len(text) for text in texts], budget, padded=session.masked):
        rows = session.run(*pad([texts[place] for place in run]))
        for place, row in zip(run, rows.tolist(), strict=True):
            found[place] = row
    return found
