"""Moves outlier channels from activations into weights, without changing what a graph computes.

SmoothQuant (Xiao et al. 2022, https://arxiv.org/abs/2211.10438): channel j of a product's input is divided by
s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) and row j of its weight multiplied by it.

A channel whose s_j is infinite is taken out of the product and added to it in fp32. Behind a GELU one channel can be
twenty times the others on a few tokens, such as the first (Sun et al. 2024, https://arxiv.org/abs/2402.17762); no
scale serves it and the rest of those rows, whichever of activations and weights it weighs on.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.editor import Editor, node

Array = NDArray[np.float32]

# Scales beyond this range would push weights into the rounding noise of their column.
_LEAST_SCALE, _MOST_SCALE = 1e-2, 1e2
# Operators by which attention in blocks leaves every value in its channel, and its heads as they were.
_MOVES = frozenset({"Gather", "Reshape", "Slice", "Transpose"})
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
        if factor is None:  # a gate: it can turn any value negative
            return None
    bias = editor.constant(found.input[1]) if found is not None and found.op_type == "BiasGelu" else None
    if bias is None:
        return None
    lowest = np.full(len(bias), -GELU_MINIMUM, np.float32)
    return lowest if factor is None else lowest * factor


def ease(model: onnx.ModelProto, scales: Mapping[str, Array]) -> Editor:
    """Divide inputs of products by their scales and multiply their weights; the function computed stays the same.

    Behind an attention, a gate, or a LayerNormalization that nothing else reads, the division is done by the weights of
    the values, of the gate, or by the gain, and costs nothing; elsewhere it is one multiplication. A channel that is
    taken out costs three small operations more.
    """
    editor = Editor(model)
    # subtle: from the last product to the first, since folding changes the weights of a product before it.
    for source, products in reversed(groups(editor).items()):
        if source not in scales:
            continue
        scale = scales[source]
        apart = np.flatnonzero(np.isinf(scale))
        for product in products:
            weight = editor.constant(product.input[1])
            assert weight is not None
            for channel in apart:
                _add_apart(editor, product, int(channel), weight[channel])
            editor.put(product.input[1], multiplied(weight, scale))
        if len(apart) or not _fold(editor, source, products, scale):
            factor = editor.put(f"{source}.smoothing", (1 / scale).astype(np.float32))
            editor.insert_before(products[0], [node("Mul", smoothed(source), [source, factor])])
            for product in products:
                product.input[0] = smoothed(source)
    return editor


def multiplied(weight: Array, scale: Array) -> Array:
    """Return a weight `[inputs, outputs]` with its rows multiplied by `scale`, and zeros where a channel is out."""
    return np.asarray(weight * np.where(np.isinf(scale), 0, scale)[:, None], np.float32)


def smoothed(source: str) -> str:
    """Return the name of a smoothed input, where the smoothing is a node of its own."""
    return f"{source}.smooth"


def strength(maxima: Array, weights: Sequence[Array], alpha: float) -> Array:
    """Return the scales s_j of an input with `maxima` max|x_j|, read by `weights` `[inputs, outputs]`."""
    tallest = np.max([np.abs(weight).max(1) for weight in weights], axis=0)
    scale = np.maximum(maxima, 1e-5) ** alpha / np.maximum(tallest, 1e-5) ** (1 - alpha)
    scale /= np.exp(np.mean(np.log(scale)))
    return np.asarray(np.clip(scale, _LEAST_SCALE, _MOST_SCALE), np.float32)


def _bias(editor: Editor, product: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the node that adds a constant to the product, if nothing else reads the product."""
    behind = editor.consumers(product.output[0])
    adds = len(behind) == 1 and behind[0].op_type == "Add" and editor.constant(behind[0].input[1]) is not None
    return behind[0] if adds else None


def _add_apart(editor: Editor, product: onnx.NodeProto, channel: int, weight: Array) -> None:
    """Add one channel of the input times its row of the weight, behind the product or the bias that it has."""
    last, name = _bias(editor, product) or product, f"{product.name}.apart.{channel}"
    out = last.output[0]
    # subtle: a product keeps its name, by which it can be left in fp32.
    last.output[0] = f"{name}.rest"
    if last is not product:
        last.name = last.output[0]
    at = editor.put(f"{name}.channel", np.array([channel]))
    row = editor.put(f"{name}.weight", weight)
    values = node("Gather", f"{name}.values", [product.input[0], at], axis=-1)
    total = node("Add", out, [f"{name}.rest", name])
    total.name = f"{name}.sum"
    editor.replace(last, [last, values, node("Mul", name, [f"{name}.values", row]), total])


def _fold(editor: Editor, source: str, products: Sequence[onnx.NodeProto], scale: Array) -> bool:
    """Divide what makes `source` by `scale`, where that changes constants alone; False if it can't be done."""
    maker = editor.producer(source)
    if maker is not None and maker.op_type == "LayerNormalization":
        return _fold_into_norm(editor, maker, products, scale)
    if maker is not None and maker.op_type == "Mul":  # a gate behind an activation, as in GeGLU
        return _fold_into_product(editor, maker.input[1], scale)
    values = _values(editor, source)
    return values is not None and _fold_into_product(editor, values, scale)


def _fold_into_norm(editor: Editor, norm: onnx.NodeProto, products: Sequence[onnx.NodeProto], scale: Array) -> bool:
    """Divide gain and bias, if nothing but `products` reads the norm."""
    # A single product behind a norm is that of a classifier's head, on one row a text: there is nothing to save.
    if len(products) < 2 or len(editor.consumers(norm.output[0])) != len(products):
        return False
    for name in norm.input[1:]:
        constant = editor.constant(name)
        assert constant is not None
        editor.put(name, constant / scale)
    return True


def _fold_into_product(editor: Editor, result: str, scale: Array) -> bool:
    """Divide the columns of the product, and its bias if it has one, that `result` comes from."""
    if len(editor.consumers(result)) != 1:
        return False
    maker = editor.producer(result)
    bias = None if maker is None or maker.op_type != "Add" else editor.constant(maker.input[1])
    product = maker if maker is None or bias is None else editor.producer(maker.input[0])
    weight = None if product is None or product.op_type != "MatMul" else editor.constant(product.input[1])
    if maker is None or product is None or weight is None:
        return False
    editor.put(product.input[1], weight / scale)
    if bias is not None:
        editor.put(maker.input[1], bias / scale)
    return True


def _values(editor: Editor, mixed: str) -> str | None:
    """Return the values that an attention's output `mixed` is a mean of, channel by channel; None if it is none."""
    mixing = editor.producer(_unmoved(editor, mixed))
    if mixing is None:
        return None
    if mixing.op_type == "MultiHeadAttention":
        return str(mixing.input[2])
    weights = editor.producer(mixing.input[0]) if mixing.op_type == "MatMul" else None
    return _unmoved(editor, mixing.input[1]) if weights is not None and weights.op_type == "Softmax" else None


def _unmoved(editor: Editor, name: str) -> str:
    """Return what `name` was before its values were moved about; attention in blocks does so on both sides."""
    while (maker := editor.producer(name)) is not None and maker.op_type in _MOVES:
        name = maker.input[0]
    return name
