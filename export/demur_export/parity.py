"""The gate: the finished bundle against PyTorch on real texts, and the record that it leaves in `demur.json`."""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from demur.errors import ParityError

# Flips as a share of the texts, max and mean |dp|. fp32 differs from PyTorch by rounding alone, so it is checked by
# limits of its own before anything is quantised.
LIMITS = {"fp32": (0.0, 1e-3, 1e-4)}
QUANTISED_LIMITS = (0.005, 0.1, 0.003)
# PyTorch is sure of a label from this probability on; no such label may flip.
_SURE = 0.9


@dataclass(frozen=True)
class Parity:
    """How far a bundle is from PyTorch fp32, each text alone.

    Attributes:
        texts: How many texts were compared.
        label_flips: Texts whose decision at 0.5 differs.
        max_dp: The largest difference of the refusal's probability.
        mean_dp: The mean of its absolute difference.
        max_dlogit: The largest difference of a logit.
        sure_flips: Of the flips, those where PyTorch gives its own label more than 0.9.
    """

    texts: int
    label_flips: int
    max_dp: float
    mean_dp: float
    max_dlogit: float
    sure_flips: int = 0

    def record(self) -> dict[str, Any]:
        """Return what `demur.json` keeps."""
        return asdict(self)


class Check(NamedTuple):
    """A figure beside its limit."""

    name: str
    found: float
    limit: float

    @property
    def holds(self) -> bool:
        """Whether the limit is kept; NaN keeps none."""
        return self.found <= self.limit


def compare(found: NDArray[np.float32], reference: NDArray[np.float32], refusal: int) -> Parity:
    """Compare logits `[texts, labels]`.

    Args:
        found: The bundle's.
        reference: PyTorch's.
        refusal: The output whose probability is compared.
    """
    p, q = probabilities(found)[:, refusal], probabilities(reference)[:, refusal]
    dp = np.abs(p - q)
    flipped = (p >= 0.5) != (q >= 0.5)
    return Parity(
        texts=len(found),
        label_flips=int(flipped.sum()),
        max_dp=float(dp.max()),
        mean_dp=float(dp.mean()),
        max_dlogit=float(np.abs(found - reference).max()),
        sure_flips=int((flipped & (np.maximum(q, 1 - q) > _SURE)).sum()),
    )


def distance(found: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the mean distance of two sets of logits `[texts, labels]`, of two labels the gate's mean |dp|.

    Of more labels it is half the sum of |dp| over them, the total variation.
    """
    return float(np.abs(probabilities(found) - probabilities(reference)).sum(1).mean() / 2)


def checks(parity: Parity, limits: tuple[float, float, float] = QUANTISED_LIMITS, share: float = 1.0) -> list[Check]:
    """Return every figure beside its limit.

    Args:
        parity: How far a bundle is from PyTorch.
        limits: Flips as a share of the texts, max and mean |dp|.
        share: Of the limits on |dp|, what is used of them: less than 1 leaves room.
    """
    flips, max_dp, mean_dp = limits
    return [
        Check("label flips", parity.label_flips, math.floor(flips * parity.texts)),
        Check("flips where PyTorch is sure", parity.sure_flips, 0),
        Check("max |dp|", parity.max_dp, share * max_dp),
        Check("mean |dp|", parity.mean_dp, share * mean_dp),
    ]


def passes(parity: Parity, share: float = 1.0) -> bool:
    """Return whether a quantised bundle keeps every limit."""
    return all(check.holds for check in checks(parity, share=share))


def broken(parity: Parity, limits: tuple[float, float, float] = QUANTISED_LIMITS) -> str:
    """Return every figure that breaks its limit, beside it; nothing if all are kept."""
    wrong = [check for check in checks(parity, limits) if not check.holds]
    return ", ".join(f"{check.name} {check.found:.4g} (limit {check.limit:.4g})" for check in wrong)


def check_graph(parity: Parity) -> None:
    """Refuse an fp32 graph that doesn't compute what PyTorch does.

    Raises:
        ParityError: A limit is not kept; the message has every such figure beside its limit.
    """
    if wrong := broken(parity, LIMITS["fp32"]):
        raise ParityError(
            f"recipe fp32 falls short of PyTorch on {parity.texts} texts: {wrong}; "
            "check the checkpoint and its tokenizer"
        )


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the softmax of logits `[texts, labels]`."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return np.asarray(shifted / shifted.sum(1, keepdims=True))
