"""Decides for each input of matrix products how it becomes uint8: how far it is smoothed, and where its scale is from.

A scale for each row, taken at run time, fits every input. A scale fixed ahead saves the search for the row's maximum
and a multiplication behind every product, and is as independent of what shares a run; it fits inputs whose range is
the same on every text, as that of a LayerNormalization is.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.editor import Editor
from demur_export.rounding import Steps, nearest, round_rows
from demur_export.run import Observed
from demur_export.smoothing import groups, lift, strength

Array = NDArray[np.float32]

# SmoothQuant's alpha: 0 leaves channels to their weights alone; None is no smoothing at all, since a mild input gets
# worse by it.
_ALPHAS = (None, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Choice(NamedTuple):
    """How an input becomes uint8."""

    smoothing: Array | None  # scales by channel
    steps: Steps | None  # None: a scale for each row
    error: float  # mean square error of its products on the observed rows, as a share of their mean square


def search(model: onnx.ModelProto, observed: Mapping[str, Observed], *, fixed: bool) -> dict[str, Choice]:
    """Return the smoothing of each input of products that lowers its products' error most.

    Args:
        model: The fp32 graph.
        observed: What each input looked like on real texts.
        fixed: With scales fixed ahead, from the lowest to the highest value observed; otherwise one for each row.
    """
    editor = Editor(model)
    found = {}
    for source, products in groups(editor).items():
        weights = [w for w in (editor.constant(p.input[1]) for p in products) if w is not None]
        lowest = lift(editor, source)
        choices = [_choice(observed[source], weights, alpha, lowest, fixed) for alpha in _ALPHAS]
        found[source] = min(choices, key=lambda choice: choice.error)
    return found


def _choice(seen: Observed, weights: list[Array], alpha: float | None, lowest: Array | None, fixed: bool) -> Choice:
    scale = np.ones_like(seen.maxima) if alpha is None else strength(seen.maxima, weights, alpha)
    steps = None
    if fixed:
        steps = Steps.between(float((seen.lowest / scale).min()), float((seen.highest / scale).max()))
        rounded = steps.round(seen.rows / scale)
    else:
        rounded = round_rows(seen.rows / scale, None if lowest is None else lowest / scale)
    error = power = 0.0
    for weight in weights:
        stored, true = nearest(weight * scale[:, None]), seen.rows @ weight
        error += float(np.mean((rounded @ (stored.steps * stored.scale) - true) ** 2))
        power += float(np.mean(true**2))
    return Choice(None if alpha is None else scale, steps, error / max(power, 1e-30))


def order(by_row: Mapping[str, Choice], ahead: Mapping[str, Choice]) -> list[str]:
    """Return the inputs from the one where a scale fixed ahead costs least to the one where it costs most."""
    return sorted(by_row, key=lambda source: ahead[source].error - by_row[source].error)
