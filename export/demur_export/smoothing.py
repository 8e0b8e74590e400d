"""Moves outlier channels from activations into weights, without changing what a graph computes.

SmoothQuant (Xiao et al. 2022, https://arxiv.org/abs/2211.10438): channel j of a product's input is divided by
s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) and row j of its weight multiplied by it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.editor import Editor, node

Array = NDArray[np.float32]

# Scales beyond this range would push weights into the rounding noise of their column.
_LEAST_SCALE, _MOST_SCALE = 1e-2, 1e2
# The least value of x * Phi(x), at x = -0.7518.
GELU_MINIMUM = -0.16997


def groups(editor: Editor) -> dict[str, list[onnx.NodeProto]]:
    """Return the matrix products with constant weights by the input that they share."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for product, _ in editor.products():
        found.setdefault(product.input[0], []).append(product)
    return found


def lift(editor: Editor, source: str) -> Array | None:
    """Return what makes `source` zero or more if it comes from a GELU, smoothed or not; None if it does not."""
    found = editor.producer(source)
    factor: Array | None = None
    if found is not None and found.op_type == "Mul":
        factor, found = editor.constant(found.input[1]), editor.producer(found.input[0])
    bias = editor.constant(found.input[1]) if found is not None and found.op_type == "BiasGelu" else None
    if bias is None:
        return None
    lowest = np.full(len(bias), -GELU_MINIMUM, np.float32)
    return lowest if factor is None else lowest * factor


def smooth(model: onnx.ModelProto, scales: Mapping[str, Array]) -> onnx.ModelProto:
    """Divide inputs of products by their scales and multiply their weights; the function computed stays the same.

    Behind an attention the division is done by the values' own weights and costs nothing; elsewhere it is one
    multiplication.
    """
    editor = Editor(model)
    # subtle: from the last product to the first, since folding changes the weights of a product before it.
    for source, products in reversed(groups(editor).items()):
        if source not in scales:
            continue
        scale = scales[source]
        for product in products:
            weight = editor.constant(product.input[1])
            assert weight is not None
            editor.put(product.input[1], weight * scale[:, None])
        if not _fold_into_values(editor, source, scale):
            factor = editor.put(f"{source}.smoothing", (1 / scale).astype(np.float32))
            editor.insert_before(products[0], [node("Mul", smoothed(source), [source, factor])])
            for product in products:
                product.input[0] = smoothed(source)
    return editor.model()


def smoothed(source: str) -> str:
    """Return the name of a smoothed input, where the smoothing is a node of its own."""
    return f"{source}.smooth"


def strength(maxima: Array, weights: Sequence[Array], alpha: float) -> Array:
    """Return the scales s_j of an input with `maxima` max|x_j|, read by `weights` `[inputs, outputs]`."""
    tallest = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    scale = np.maximum(maxima, 1e-5) ** alpha / np.maximum(tallest, 1e-5) ** (1 - alpha)
    scale /= np.exp(np.mean(np.log(scale)))
    return np.asarray(np.clip(scale, _LEAST_SCALE, _MOST_SCALE), np.float32)


def _fold_into_values(editor: Editor, source: str, scale: Array) -> bool:
    """Divide the values of the attention that `source` comes from; False if it comes from elsewhere."""
    attention = editor.producer(source)
    if attention is None or attention.op_type != "MultiHeadAttention":
        return False
    added = editor.producer(attention.input[2])
    if added is None or added.op_type != "Add":
        return False
    product, bias = editor.producer(added.input[0]), editor.constant(added.input[1])
    weight = editor.constant(product.input[1]) if product is not None and product.op_type == "MatMul" else None
    if product is None or weight is None or bias is None:
        return False
    editor.put(product.input[1], weight / scale)
    editor.put(added.input[1], bias / scale)
    return True
