"""Recipes: how weights and activations are quantised. One function a recipe.

`int8` is the usual dynamic quantisation: one scale for all activations of a product, so a text's answer depends on
what shares its run. `int8-row` scales every row (token) by its own maximum, moves outlier channels from
activations into weights beforehand, and rounds weights so that their errors cancel on real inputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from demur_export.graph.bert import WORDS
from demur_export.graph.builder import CONTRIB
from demur_export.graph.editor import Editor, node
from demur_export.rounding import Gram, Rounded, compensated, nearest
from demur_export.run import Texts, logits, observe
from demur_export.smoothing import groups, lift, search, smooth, smoothed

_TINY = 1e-9  # an all-zero row must not divide by zero


@dataclass(frozen=True)
class Quantised:
    """A quantised graph, and what was done.

    Attributes:
        model: The graph.
        products: Matrix products with constant weights that are in int8 now.
        smoothed: Inputs of products that were smoothed.
    """

    model: onnx.ModelProto
    products: int
    smoothed: int = 0


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
            parts = [f"{source}.q", f"{source}.scale", f"{source}.zero"]
            editor.insert_before(product, [helper.make_node("DynamicQuantizeLinear", [source], parts)])
        weight_q, weight_scale = _put_weight(editor, product.name, nearest(weight))
        inputs = [f"{source}.q", weight_q, f"{source}.scale", weight_scale, f"{source}.zero"]
        editor.replace(product, [node("MatMulIntegerToFloat", product.output[0], inputs, CONTRIB)])
        count += 1
    _embeddings(editor)
    return Quantised(editor.model(), count)


def int8_row(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights per column, activations per row; inputs smoothed where that helps; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts. They give the inputs' ranges and correlations, and decide
            between smoothing and none by whose logits are nearer to the fp32 graph's.
    """
    sources = list(groups(Editor(model)))
    observed = observe(model, sources, calibration)
    scales = search(model, observed)
    plain = {source: observed[source].gram for source in sources}
    eased = {source: gram.smoothed(scales[source]) if source in scales else gram for source, gram in plain.items()}
    eased |= {smoothed(source): gram for source, gram in eased.items()}
    reference = logits(model, calibration)
    made = [_rows(model, plain), _rows(smooth(model, scales), eased)] if scales else [_rows(model, plain)]
    noise = [float(np.mean((logits(quantised, calibration) - reference) ** 2)) for quantised, _ in made]
    best = int(np.argmin(noise))
    return Quantised(*made[best], smoothed=len(scales) if best else 0)


RECIPES: dict[str, Callable[[onnx.ModelProto, Texts], Quantised]] = {"fp32": fp32, "int8": int8, "int8-row": int8_row}


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
        shift = done[source].shift
        if shift is not None:
            _take_back(editor, product.output[0], shift @ (rounded.steps * rounded.scale))
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
    shift = lift(editor, source)
    if shift is None:
        steps, zero = editor.put("row.step", np.array(1 / 127, np.float32)), np.array(128, np.uint8)
        first, measured, scaled = node("Abs", f"{source}.abs", [source]), f"{source}.abs", source
    else:
        steps, zero = editor.put("row.step.positive", np.array(1 / 255, np.float32)), np.array(0, np.uint8)
        added = editor.put(f"{source}.shift", shift)
        first, measured, scaled = node("Add", f"{source}.up", [source, added]), f"{source}.up", f"{source}.up"
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
