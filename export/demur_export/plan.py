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

# A scale fixed ahead is good enough where the products' square error is at most so many times that of a scale for each
# row. In a trained MiniLM the outputs of a layer are at 1.3 to 1.4, those of its attention at 1.9 to 2.3, a GELU's at 3
# to 9; with the second sort fixed as well the logits moved half as far again.
_WORSE = 1.5


class Choice(NamedTuple):
    """How an input becomes uint8."""

    smoothing: Array | None  # scales by channel
    steps: Steps | None  # None: a scale for each row
    error: float  # square error of its products as a share of their square, the mean of the observed rows


def search(model: onnx.ModelProto, observed: Mapping[str, Observed], *, fixed: bool) -> dict[str, Choice]:
    """Return the smoothing of each input of products that lowers its products' error most.

    Args:
        model: The fp32 graph.
        observed: What each input looked like on real texts.
        fixed: With scales fixed ahead, from the lowest to the highest value observed; otherwise one for each row.
            Inputs with a single row for each text are left out then: nothing is to be gained there.
    """
    editor = Editor(model)
    found = {}
    for source, products in groups(editor).items():
        if fixed and observed[source].gram.rows == observed[source].texts:
            continue
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
    error, power = np.zeros(len(rounded)), np.zeros(len(rounded))
    for weight in weights:
        stored, true = nearest(weight * scale[:, None]), seen.rows @ weight
        error += ((rounded @ (stored.steps * stored.scale) - true) ** 2).sum(1)
        power += (true**2).sum(1)
    # subtle: by row, since a few tokens' rows can be a hundred times the others, and would be all that counts.
    return Choice(None if alpha is None else scale, steps, float(np.mean(error / np.maximum(power, 1e-30))))


def mixed(by_row: Mapping[str, Choice], ahead: Mapping[str, Choice]) -> dict[str, Choice]:
    """Return the choices with scales fixed ahead where these are good enough, and those by row elsewhere."""
    return {
        source: ahead[source] if source in ahead and ahead[source].error <= _WORSE * row.error else row
        for source, row in by_row.items()
    }
