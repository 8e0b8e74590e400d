"""Logits to a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from demur._bundle import Bundle


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one conversation.

    Attributes:
        refusal: Whether `score` reaches `threshold`.
        score: The probability that the reply declines, 0 to 1.
        label: The model's own name for the decision.
        threshold: The score from which a reply counts as a refusal.
        model: The bundle's name.
        tokens: Tokens that the model read, special tokens included.
        elided: Tokens left out because the conversation is longer than the model reads; 0 if all was read.
        logits: The model's raw outputs, one for each of its labels.
    """

    refusal: bool
    score: float
    label: str
    threshold: float
    model: str
    tokens: int
    elided: int
    logits: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, fit for JSON."""
        # subtle: `dataclasses.asdict` copies deeply, which takes longer than all else that is done to write a row.
        made = {name: getattr(self, name) for name in self.__slots__}
        made["logits"] = list(self.logits)
        return made


def decide(bundle: Bundle, logits: Sequence[float], threshold: float, *, tokens: int, elided: int) -> Verdict:
    """Return the verdict of one conversation.

    Args:
        bundle: Whose model said it.
        logits: What it said, one for each label.
        threshold: The score from which a reply counts as a refusal.
        tokens: Tokens read.
        elided: Tokens left out.
    """
    index, score = bundle.refusal, probability(logits, bundle.refusal)
    refusal = score >= threshold
    others = [i for i in range(len(logits)) if i != index]
    return Verdict(
        refusal=refusal,
        score=score,
        # Of the other labels it is the likeliest, where it is no refusal.
        label=bundle.labels[index if refusal else max(others, key=logits.__getitem__)],
        threshold=threshold,
        model=bundle.name,
        tokens=tokens,
        elided=elided,
        logits=tuple(logits),
    )


def probability(logits: Sequence[float], index: int) -> float:
    """Return the softmax of `logits` at `index`, computed in double precision without overflow."""
    peak = max(logits)
    weights = [math.exp(logit - peak) for logit in logits]
    return weights[index] / sum(weights)
