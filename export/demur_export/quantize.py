"""Recipes: how weights and activations are quantised. One function a recipe.

`int8` is the usual dynamic quantisation: one scale for all activations of a product, so a text's answer depends on
what shares its run. `int8-row` scales every row (token) by its own maximum and moves outlier channels from
activations into weights beforehand (SmoothQuant, Xiao et al. 2022, https://arxiv.org/abs/2211.10438).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.bert import WORDS
from demur_export.graph.builder import CONTRIB
from demur_export.graph.editor import Editor, node
from demur_export.run import channel_maxima, logits

# SmoothQuant's migration strength: 0 leaves activations as they are. Searched, since a mild model gets worse by it.
ALPHAS = (None, 0.3, 0.4, 0.5, 0.6, 0.7)
# Scales beyond this range would push weights into the rounding noise of their column.
_LEAST_SCALE, _MOST_SCALE = 1e-2, 1e2
_TINY = 1e-9  # an all-zero row must not divide by zero

Ids = Sequence[NDArray[np.int64]]


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


def fp32(model: onnx.ModelProto, calibration: Ids) -> Quantised:
    """Leave the graph as it is."""
    return Quantised(model, 0)


def int8(model: onnx.ModelProto, calibration: Ids) -> Quantised:
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
        inputs = [f"{source}.q", *_put_weight(editor, product.name, weight), f"{source}.zero"]
        inputs.insert(2, f"{source}.scale")
        editor.replace(product, [node("MatMulIntegerToFloat", product.output[0], inputs, CONTRIB)])
        count += 1
    _embeddings(editor)
    return Quantised(editor.model(), count)


def int8_row(model: onnx.ModelProto, calibration: Ids) -> Quantised:
    """Weights per column, activations per row, smoothed as far as it helps on `calibration`; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts; every other one gives the channels' ranges, and all choose
            the smoothing strength whose logits are nearest to the fp32 graph's.
    """
    maxima = channel_maxima(model, [p.input[0] for p, _ in Editor(model).products()], calibration[::2])
    reference = logits(model, calibration)
    best: Quantised | None = None
    least = np.inf
    for alpha in ALPHAS:
        smoothed = model if alpha is None else smooth(model, maxima, alpha)
        made = _rows(smoothed, alpha)
        noise = float(np.sqrt(np.mean((logits(made.model, calibration) - reference) ** 2)))
        if noise < least:
            best, least = made, noise
    assert best is not None
    return best


RECIPES: dict[str, Callable[[onnx.ModelProto, Ids], Quantised]] = {"fp32": fp32, "int8": int8, "int8-row": int8_row}


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


def _rows(model: onnx.ModelProto, alpha: float | None) -> Quantised:
    editor = Editor(model)
    one = editor.put("row.one", np.array(1, np.float32))
    middle = editor.put("row.middle", np.array(128, np.uint8))
    done: set[str] = set()
    count = 0
    for product, weight in editor.products():
        source = product.input[0]
        if source not in done:
            done.add(source)
            editor.insert_before(product, _quantise_rows(editor, source))
        weight_q, weight_scale = _put_weight(editor, product.name, weight)
        inputs = [f"{source}.q", weight_q, one, weight_scale, middle]
        unit = f"{product.name}.unit"
        editor.replace(
            product,
            [
                node("MatMulIntegerToFloat", unit, inputs, CONTRIB),
                node("Mul", product.output[0], [unit, f"{source}.column"]),
            ],
        )
        count += 1
    _embeddings(editor)
    return Quantised(editor.model(), count, alpha)


def _quantise_rows(editor: Editor, source: str) -> list[onnx.NodeProto]:
    """Nodes that make `source` `[rows, width]` uint8 around 128, and its scales `[rows, 1]`."""
    tiny = editor.put("row.tiny", np.array(_TINY, np.float32))
    step = editor.put("row.step", np.array(1 / 127, np.float32))
    return [
        node("Abs", f"{source}.abs", [source]),
        node("ReduceMax", f"{source}.max", [f"{source}.abs"], axes=[1], keepdims=1),
        node("Max", f"{source}.top", [f"{source}.max", tiny]),
        node("Mul", f"{source}.column", [f"{source}.top", step]),
        node("Div", f"{source}.scaled", [source, f"{source}.column"]),
        node(
            "QuantizeLinear",
            f"{source}.q",
            [
                f"{source}.scaled",
                editor.put("row.one", np.array(1, np.float32)),
                editor.put("row.middle", np.array(128, np.uint8)),
            ],
        ),
    ]


def _put_weight(editor: Editor, name: str, weight: NDArray[np.float32]) -> list[str]:
    """Store a weight `[inputs, outputs]` as int8 with a scale for each column."""
    scale = np.maximum(np.abs(weight).max(0) / 127, 1e-12).astype(np.float32)
    return [
        editor.put(f"{name}.weight.q", np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)),
        editor.put(f"{name}.weight.scale", scale),
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
