"""How far is each peer's probability of a refusal from PyTorch's on the same texts?

A peer that is faster may be so because it is less exact: a time says little without this beside it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import demur
from _common import Floats
from _peers import BARE, DEMUR, TRANSFORMERS, Judge
from demur._bundle import Bundle
from demur._verdict import probability
from demur_export.checkpoint import Checkpoint


def refusal(answer: Any, bundle: Bundle) -> float:
    """Return the probability of a refusal from what a peer answers: a verdict, a pipeline's label, or all labels' odds.

    Args:
        answer: Of a text.
        bundle: Its labels are those of the checkpoint; a pipeline names the likelier of two.
    """
    if isinstance(answer, demur.Verdict):
        return answer.score
    if isinstance(answer, list):
        (best,) = answer
        return float(best["score"] if best["label"] == bundle.labels[bundle.refusal] else 1 - best["score"])
    return float(answer[bundle.refusal])


def measure(
    judges: Mapping[str, Judge], texts: Sequence[str], bundle: Bundle, source: Checkpoint
) -> dict[str, dict[str, float]]:
    """Return each peer's label flips, and its largest and mean |Δp|, from PyTorch's fp32.

    A table of n-grams beside the weights is in demur's graph alone; the others are compared with PyTorch without it.

    Args:
        judges: Each peer's function of a text. The bare session is left out: it is demur's graph.
        texts: None that a peer was calibrated on.
        bundle: demur's.
        source: What the bundle was made from.
    """
    model = demur.load(bundle.folder)

    def scores(name: str) -> list[float]:
        return [refusal(judges[name](text), bundle) for text in texts]

    found = {DEMUR: summary(_with_table(model, texts, source), scores(DEMUR), model.threshold)}
    if TRANSFORMERS in judges:
        torch = scores(TRANSFORMERS)
        others = [name for name in judges if name not in (BARE, DEMUR, TRANSFORMERS)]
        found |= {name: summary(torch, scores(name), model.threshold) for name in others}
    return found


def _with_table(model: demur.Classifier, texts: Sequence[str], source: Checkpoint) -> list[float]:
    """Return PyTorch's probabilities, with what a table of n-grams adds."""
    from demur_export.reference import torch_logits

    logits = torch_logits(source, [np.array([model.encode({"text": text})], np.int64) for text in texts])
    return [probability(row, source.refusal) for row in logits.tolist()]


def summary(torch: Sequence[float] | Floats, found: Sequence[float] | Floats, threshold: float) -> dict[str, float]:
    """Return how far probabilities are from PyTorch's of the same texts."""
    one, other = np.asarray(torch), np.asarray(found)
    dp: Floats = np.abs(one - other)
    return {
        "texts": len(dp),
        "label_flips": int(np.not_equal(one >= threshold, other >= threshold).sum()),
        "max_dp": round(float(dp.max()), 6),
        "mean_dp": round(float(dp.mean()), 6),
    }


def rows(found: Mapping[str, Mapping[str, float]], names: Mapping[str, str]) -> list[list[str]]:
    """Return a table's rows: peer, label flips, max |Δp|, mean |Δp|; demur's first."""
    return [
        [names[name], f"{f['label_flips']} of {f['texts']}", f"{f['max_dp']:.4f}", f"{f['mean_dp']:.5f}"]
        for name, f in found.items()
    ]
