"""The gate: the finished bundle against PyTorch on real texts, and the record that it leaves in `demur.json`."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import ParityError

# Flips as a share of the texts, max and mean |dp|. fp32 differs from PyTorch by rounding alone. Eight bits on both
# sides of every product leave about one part in a hundred of noise, which a bundle must not multiply: one that moves a
# probability by a tenth, or the mean by a hundredth, has outliers that its recipe does not cope with.
LIMITS = {"fp32": (0.0, 1e-3, 1e-4)}
QUANTISED_LIMITS = (0.01, 0.1, 0.01)


@dataclass(frozen=True)
class Parity:
    """How far a bundle is from PyTorch fp32, each text alone.

    Attributes:
        texts: How many texts were compared.
        label_flips: Texts whose decision at 0.5 differs.
        max_dp: The largest difference of the refusal's probability.
        mean_dp: The mean of its absolute difference.
        max_dlogit: The largest difference of a logit.
    """

    texts: int
    label_flips: int
    max_dp: float
    mean_dp: float
    max_dlogit: float

    def record(self) -> dict[str, Any]:
        """Return what `demur.json` keeps."""
        return asdict(self)


def compare(found: NDArray[np.float32], reference: NDArray[np.float32], refusal: int) -> Parity:
    """Compare logits `[texts, labels]`.

    Args:
        found: The bundle's.
        reference: PyTorch's.
        refusal: The output whose probability is compared.
    """
    p, q = _probability(found, refusal), _probability(reference, refusal)
    dp = np.abs(p - q)
    return Parity(
        texts=len(found),
        label_flips=int(((p >= 0.5) != (q >= 0.5)).sum()),
        max_dp=float(dp.max()),
        mean_dp=float(dp.mean()),
        max_dlogit=float(np.abs(found - reference).max()),
    )


def gate(parity: Parity, recipe: str, pruned: bool = False) -> None:
    """Refuse a bundle that is too far from PyTorch.

    Args:
        parity: How far it is.
        recipe: How it was quantised.
        pruned: Whether its vocabulary was pruned. Texts unlike those that it was pruned for are then read as other
            pieces, which no recipe can be blamed for.

    Raises:
        ParityError: A limit of the recipe is not kept; the message has every figure beside its limit.
    """
    flips, max_dp, mean_dp = QUANTISED_LIMITS if pruned else LIMITS.get(recipe, QUANTISED_LIMITS)
    # Texts on the very edge flip by chance: the count may exceed its share by two standard deviations (Poisson).
    expected = flips * parity.texts
    allowed = int(expected + 2 * math.sqrt(expected))
    checks = [
        ("label flips", parity.label_flips, allowed),
        ("max |dp|", parity.max_dp, max_dp),
        ("mean |dp|", parity.mean_dp, mean_dp),
    ]
    broken = [f"{name} {found:.4g} (limit {limit:.4g})" for name, found, limit in checks if not found <= limit]
    if broken:
        advice = "check the checkpoint and its tokenizer" if recipe == "fp32" else "try " + _others(recipe)
        if pruned:
            advice = (
                "the vocabulary was pruned: compare on texts like those of --vocabulary (--texts), give it more of "
                "them, or leave it out"
            )
        raise ParityError(
            f"recipe {recipe} falls short of PyTorch on {parity.texts} texts: {', '.join(broken)}; {advice}"
        )


def _others(recipe: str) -> str:
    return " or ".join(f"--recipe {other}" for other in ("int8-row", "fp32") if other != recipe)


def _probability(logits: NDArray[np.float32], index: int) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    probability: NDArray[np.float64] = shifted[:, index] / shifted.sum(1)
    return probability
