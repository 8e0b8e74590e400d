"""Recipes: how weights and activations are quantised. One function a recipe.

`int8` is the usual dynamic quantisation: one scale for all activations of a product, so a text's answer depends on
what shares its run. `int8-row` scales every row (token) by its own maximum and moves outlier channels from
activations into weights beforehand (SmoothQuant, Xiao et al. 2022, https://arxiv.org/abs/2211.10438).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.bert import WORDS
from demur_export.graph.builder import CONTRIB
from demur_export.graph.editor import Editor, node
from demur_export.rounding import Gram, Rounded, compensated, nearest
from demur_export.run import Texts, channel_maxima, grams, logits

# SmoothQuant's migration strength: 0 leaves activations as they are. Searched, since a mild model gets worse by it.
ALPHAS = (None, 0.3, 0.4, 0.5, 0.6, 0.7)
# Scales beyond this range would push weights into the rounding noise of their column.
_LEAST_SCALE, _MOST_SCALE = 1e-2, 1e2
_TINY = 1e-9  # an all-zero row must not divide by zero
# The least value of x * Phi(x), at x = -0.7518.
_GELU_MINIMUM = -0.16997


@dataclass(frozen=True)
class Quantised:
    """A quantised graph, and what was done.

    Attributes:
        model: The graph.
        products: Matrix products with constant weights that are in int8 now.
        alpha: SmoothQuant's strength, None where nothing was smoothed.
    """

    model: onnx.ModelProto
    products: int
    alpha: float | None = None


def fp32(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Leave the graph as it is."""
    return Quantised(model, 0)


def int8(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights per column, activations with one scale for the whole tensor; embeddings per row."""
    editor = Editor(model)
    done: set[str] = set()
    count = 0
    for product, weight in editor.products():
        source = product.input[0]
        if source not in done:
            done.add(source)
            quantise = node("DynamicQuantizeLinear", f"{source}.q", [source])
            del quantise.output[:]
            quantise.output.extend([f"{source}.q", f"{source}.scale", f"{source}.zero"])
            editor.insert_before(product, [quantise])
        weight_q, weight_scale = _put_weight(editor, product.name, nearest(weight))
        inputs = [f"{source}.q", weight_q, f"{source}.scale", weight_scale, f"{source}.zero"]
        editor.replace(product, [node("MatMulIntegerToFloat", product.output[0], inputs, CONTRIB)])
        count += 1
    _embeddings(editor)
    return Quantised(editor.model(), count)


def int8_row(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights per column, activations per row, smoothed as far as it helps on `calibration`; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts; every other one gives the channels' ranges, and all choose
            the smoothing strength whose logits are nearest to the fp32 graph's.
    """
    maxima = channel_maxima(model, _sources(model), calibration[::2])
    reference = logits(model, calibration)
    best, least = model, np.inf
    chosen: float | None = None
    for alpha in ALPHAS:
        smoothed = model if alpha is None else smooth(model, maxima, alpha)
        noise = float(np.mean((logits(_rows(smoothed, {})[0], calibration) - reference) ** 2))
        if noise < least:
            best, least, chosen = smoothed, noise, alpha
    made, products = _rows(best, grams(best, _sources(best), calibration))
    return Quantised(made, products, chosen)


def _sources(model: onnx.ModelProto) -> list[str]:
    return [product.input[0] for product, _ in Editor(model).products()]


RECIPES: dict[str, Callable[[onnx.ModelProto, Texts], Quantised]] = {"fp32": fp32, "int8": int8, "int8-row": int8_row}


def smooth(model: onnx.ModelProto, maxima: Mapping[str, NDArray[np.float32]], alpha: float) -> onnx.ModelProto:
    """Move outlier channels from activations into weights; the function computed stays the same.

    Channel j of a product's input is divided by s_j = max|x_j|^alpha / max|w_j|^(1 - alpha) and row j of its weight
    multiplied by it. Behind an attention the division is done by the values' own weights and costs nothing; elsewhere
    it is one multiplication.

    Args:
        model: The fp32 graph.
        maxima: max|x_j| by input's name.
        alpha: Migration strength, 0 to 1.
    """
    editor = Editor(model)
    groups: dict[str, list[onnx.NodeProto]] = {}
    for product, _ in editor.products():
        groups.setdefault(product.input[0], []).append(product)
    # subtle: from the last product to the first, since folding changes the weights of a product before it.
    for source, products in reversed(groups.items()):
        weights = [editor.constant(p.input[1]) for p in products]
        tallest = np.max([np.abs(w).max(1) for w in weights if w is not None], axis=0)
        scale = _smoothing(maxima[source], tallest, alpha)
        for product, weight in zip(products, weights, strict=True):
            assert weight is not None
            editor.put(product.input[1], weight * scale[:, None])
        if not _fold_into_values(editor, source, scale):
            factor = editor.put(f"{source}.smoothing", (1 / scale).astype(np.float32))
            editor.insert_before(products[0], [node("Mul", f"{source}.smooth", [source, factor])])
            for product in products:
                product.input[0] = f"{source}.smooth"
    return editor.model()


def _smoothing(activations: NDArray[np.float32], weights: NDArray[np.float32], alpha: float) -> NDArray[np.float32]:
    scale = np.maximum(activations, 1e-5) ** alpha / np.maximum(weights, 1e-5) ** (1 - alpha)
    scale /= np.exp(np.mean(np.log(scale)))
    return np.clip(scale, _LEAST_SCALE, _MOST_SCALE).astype(np.float32)


def _fold_into_values(editor: Editor, source: str, scale: NDArray[np.float32]) -> bool:
    """Divide the values of the attention that `source` comes from; False if it comes from elsewhere."""
    attention = _behind_reshape(editor, source)
    if attention is None or attention.op_type != "MultiHeadAttention":
        return False
    added = _behind_reshape(editor, attention.input[2])
    if added is None or added.op_type != "Add":
        return False
    product, bias = editor.producer(added.input[0]), editor.constant(added.input[1])
    weight = editor.constant(product.input[1]) if product is not None and product.op_type == "MatMul" else None
    if product is None or weight is None or bias is None:
        return False
    editor.put(product.input[1], weight / scale)
    editor.put(added.input[1], bias / scale)
    return True


def _behind_reshape(editor: Editor, name: str) -> onnx.NodeProto | None:
    found = editor.producer(name)
    return editor.producer(found.input[0]) if found is not None and found.op_type == "Reshape" else found


def _rows(model: onnx.ModelProto, inputs: Mapping[str, Gram]) -> tuple[onnx.ModelProto, int]:
    """Quantise every product with one scale for each row of its input; weights to the nearest step where no gram is."""
    editor = Editor(model)
    one = editor.put("row.one", np.array(1, np.float32))
    done: dict[str, Rows] = {}
    count = 0
    for product, weight in editor.products():
        source = product.input[0]
        if source not in done:
            done[source] = _quantise_rows(editor, source)
            editor.insert_before(product, done[source].nodes)
        rounded = compensated(weight, inputs[source]) if source in inputs else nearest(weight)
        weight_q, weight_scale = _put_weight(editor, product.name, rounded)
        unit = f"{product.name}.unit"
        editor.replace(
            product,
            [
                node(
                    "MatMulIntegerToFloat",
                    unit,
                    [f"{source}.q", weight_q, one, weight_scale, done[source].zero],
                    CONTRIB,
                ),
                node("Mul", product.output[0], [unit, f"{source}.column"]),
            ],
        )
        if done[source].shift is not None:
            _take_back(editor, product.output[0], done[source].shift @ (rounded.steps * rounded.scale))
        count += 1
    _embeddings(editor)
    return editor.model(), count


class Rows(NamedTuple):
    """How a product's input becomes uint8: nodes, the name of the zero point, and what was added to it before."""

    nodes: list[onnx.NodeProto]
    zero: str
    shift: NDArray[np.float32] | None


def _quantise_rows(editor: Editor, source: str) -> Rows:
    """Make `source` `[rows, width]` uint8, and its scales `[rows, 1]`.

    Around 128 where values have both signs; from 0 behind a GELU, whose least value is known, so that all 256 steps
    serve the positive side.
    """
    tiny = editor.put("row.tiny", np.array(_TINY, np.float32))
    one = editor.put("row.one", np.array(1, np.float32))
    shift = _above_gelu(editor, source)
    if shift is None:
        steps, zero = editor.put("row.step", np.array(1 / 127, np.float32)), np.array(128, np.uint8)
        first, measured, scaled = node("Abs", f"{source}.abs", [source]), f"{source}.abs", source
    else:
        steps, zero = editor.put("row.step.positive", np.array(1 / 255, np.float32)), np.array(0, np.uint8)
        lift = editor.put(f"{source}.shift", shift)
        first, measured, scaled = node("Add", f"{source}.up", [source, lift]), f"{source}.up", f"{source}.up"
    zero_name = editor.put(f"row.zero.{zero}", zero)
    nodes = [
        first,
        node("ReduceMax", f"{source}.max", [measured], axes=[1], keepdims=1),
        node("Max", f"{source}.top", [f"{source}.max", tiny]),
        node("Mul", f"{source}.column", [f"{source}.top", steps]),
        node("Div", f"{source}.scaled", [scaled, f"{source}.column"]),
        node("QuantizeLinear", f"{source}.q", [f"{source}.scaled", one, zero_name]),
    ]
    return Rows(nodes, zero_name, shift)


def _above_gelu(editor: Editor, source: str) -> NDArray[np.float32] | None:
    """What lifts `source` to zero or more if it comes from a GELU, smoothed or not; None if it does not."""
    found = editor.producer(source)
    factor: NDArray[np.float32] | None = None
    if found is not None and found.op_type == "Mul":
        factor, found = editor.constant(found.input[1]), editor.producer(found.input[0])
    if found is None or found.op_type != "BiasGelu":
        return None
    bias = editor.constant(found.input[1])
    assert bias is not None
    lift = np.full(len(bias), -_GELU_MINIMUM, np.float32)
    return lift if factor is None else lift * factor


def _take_back(editor: Editor, product: str, surplus: NDArray[np.float32]) -> None:
    """Subtract what a shifted input adds to a product, in the bias that follows it."""
    (added,) = editor.consumers(product)
    bias = editor.constant(added.input[1])
    assert bias is not None
    editor.put(added.input[1], (bias - surplus).astype(np.float32))


def _put_weight(editor: Editor, name: str, rounded: Rounded) -> list[str]:
    """Store a weight as int8 with a scale for each column."""
    return [
        editor.put(f"{name}.weight.q", rounded.steps),
        editor.put(f"{name}.weight.scale", rounded.scale),
    ]


def _embeddings(editor: Editor) -> None:
    """Store the word embeddings as int8 with a scale for each row: rows are looked up one by one."""
    table = editor.constant(WORDS)
    gather = next(n for n in editor.nodes if n.op_type == "Gather" and n.input[0] == WORDS)
    assert table is not None
    scale = np.maximum(np.abs(table).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
    quantised = editor.put(f"{WORDS}.q", np.rint(table / scale).astype(np.int8))
    scales = editor.put(f"{WORDS}.scale", scale)
    ids, out = gather.input[1], gather.output[0]
    editor.replace(
        gather,
        [
            node("Gather", f"{out}.q", [quantised, ids]),
            node("Cast", f"{out}.unit", [f"{out}.q"], to=onnx.TensorProto.FLOAT),
            node("Gather", f"{out}.scale", [scales, ids]),
            node("Mul", out, [f"{out}.unit", f"{out}.scale"]),
        ],
    )
