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
from demur_export.smoothing import groups, lift, multiplied, strength

Array = NDArray[np.float32]

# SmoothQuant's alpha: 0 leaves channels to their weights alone; None is no smoothing at all, since a mild input gets
# worse by it.
_ALPHAS = (None, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

# A scale fixed ahead is good enough where the square error of the products is at most so many times that of a scale by
# row. In a trained MiniLM a layer's outputs are at 1.3 to 1.4, the embeddings at 1.44, the others at 1.6 to 9. With
# the embeddings fixed as well the mean |dp| rose from 0.0026 to 0.0032.
_WORSE = 1.4
# A channel is taken out where that leaves at most this share of the error. In a trained MiniLM one channel behind the
# GELUs of the first four layers leaves 0.7 to 0.9, and of the mean |dp| 0.83 (seven plans drawn by chance); one before
# the wider products of the first two leaves 0.6, and of the logits' noise 0.87 (six plans). Wider ones cost more.
_TAKEN_OUT, _TAKEN_OUT_WIDE = 0.9, 0.6
_MOST_TAKEN_OUT = 3


class Choice(NamedTuple):
    """How an input becomes uint8."""

    smoothing: Array | None  # scales by channel, infinite where a channel is taken out
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
        seen = observed[source]
        if fixed and seen.gram.rows == seen.texts:
            continue
        weights = [w for w in (editor.constant(p.input[1]) for p in products) if w is not None]
        true = [seen.rows @ weight for weight in weights]
        lowest = lift(editor, source)

        def best(apart: list[int]) -> Choice:
            return min(
                (_choice(seen, weights, true, alpha, lowest, fixed, apart) for alpha in _ALPHAS),  # noqa: B023
                key=lambda choice: choice.error,
            )

        found[source] = best([])
        wide = weights[0].shape[1] > weights[0].shape[0]
        # Not where all products that share an input would have to add what is taken out, nor for one row a text, nor
        # where it takes more time than a scale fixed ahead saves.
        if len(products) > 1 or seen.gram.rows == seen.texts or (fixed and wide):
            continue
        tallest = np.argsort(-seen.maxima).tolist()
        for count in range(1, 1 + _MOST_TAKEN_OUT):
            without = best(tallest[:count])
            if without.error > (_TAKEN_OUT_WIDE if wide else _TAKEN_OUT) * found[source].error:
                break
            found[source] = without
    return found


def _choice(
    seen: Observed,
    weights: list[Array],
    true: list[Array],
    alpha: float | None,
    lowest: Array | None,
    fixed: bool,
    apart: list[int],
) -> Choice:
    scale = np.ones_like(seen.maxima) if alpha is None else strength(seen.maxima, weights, alpha)
    scale[apart] = np.inf
    steps = None
    if fixed:
        steps = Steps.between(float((seen.lowest / scale).min()), float((seen.highest / scale).max()))
        rounded = steps.round(seen.rows / scale)
    else:
        rounded = round_rows(seen.rows / scale, None if lowest is None else lowest / scale)
    error, power = np.zeros(len(rounded)), np.zeros(len(rounded))
    for weight, product in zip(weights, true, strict=True):
        stored = nearest(multiplied(weight, scale))
        given = rounded @ (stored.steps * stored.scale)
        given += seen.rows[:, apart] @ weight[apart]
        error += ((given - product) ** 2).sum(1)
        power += (product**2).sum(1)
    # subtle: by row, since a few tokens' rows can be a hundred times the others, and would be all that counts.
    plain = alpha is None and not apart
    return Choice(None if plain else scale, steps, float(np.mean(error / np.maximum(power, 1e-30))))


def mixed(by_row: Mapping[str, Choice], ahead: Mapping[str, Choice]) -> dict[str, Choice]:
    """Return the choices with scales fixed ahead where these are good enough, and those by row elsewhere."""
    return {
        source: ahead[source] if source in ahead and ahead[source].error <= _WORSE * row.error else row
        for source, row in by_row.items()
    }
