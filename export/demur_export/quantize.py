"""Recipes: how weights and activations are quantised. One function a recipe.

`int8` is the usual dynamic quantisation: one scale for all activations of a product, so a text's answer depends on
what shares its run. `int8-row` scales every row (token) by its own maximum, or by a scale fixed ahead where that is
nearly as near; it moves outlier channels from activations into weights beforehand, and rounds weights so that their
errors cancel on real inputs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from demur_export.graph.builder import CONTRIB, WORDS
from demur_export.graph.editor import Editor, node
from demur_export.plan import Choice, mixed, search
from demur_export.rounding import Gram, Rounded, Steps, compensated, nearest
from demur_export.run import Texts, logits, observe
from demur_export.smoothing import groups, lift, smooth, smoothed

# How many times the mean square error of the logits scales fixed ahead may cost: they save 4 to 8 % of the time.
_FIXED_NOISE = 3.0


@dataclass(frozen=True)
class Quantised:
    """A quantised graph, and what was done.

    Attributes:
        model: The graph.
        products: Matrix products with constant weights that are in int8 now.
        smoothed: Inputs of products that were smoothed.
        fixed: Inputs of products with a scale fixed ahead.
    """

    model: onnx.ModelProto
    products: int
    smoothed: int = 0
    fixed: int = 0


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
    """Weights per column; activations per row, or as fixed ahead; inputs smoothed where that helps; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts. They give the inputs' ranges and correlations. Of plain rows and
            smoothed ones those are taken whose logits are nearer to the fp32 graph's; fixed scales, where they stay
            nearly as near.
    """
    sources = list(groups(Editor(model)))
    observed = observe(model, sources, calibration)
    by_row, ahead = search(model, observed, fixed=False), search(model, observed, fixed=True)
    grams = {source: observed[source].gram for source in sources}
    reference = logits(model, calibration)

    def noise(made: Quantised) -> float:
        return float(np.mean((logits(made.model, calibration) - reference) ** 2))

    best, least = min(
        ((made, noise(made)) for made in (by_choices(model, {}, grams), by_choices(model, by_row, grams))), key=_last
    )
    faster = by_choices(model, mixed(by_row, ahead), grams)
    return faster if faster.fixed and noise(faster) <= _FIXED_NOISE * least else best


RECIPES: dict[str, Callable[[onnx.ModelProto, Texts], Quantised]] = {"fp32": fp32, "int8": int8, "int8-row": int8_row}


def _last(pair: tuple[Quantised, float]) -> float:
    return pair[1]


def by_choices(model: onnx.ModelProto, choices: Mapping[str, Choice], grams: Mapping[str, Gram]) -> Quantised:
    """Quantise every product as chosen for its input; one scale for each row where nothing is."""
    scales = {source: choice.smoothing for source, choice in choices.items() if choice.smoothing is not None}
    steps = {source: choice.steps for source, choice in choices.items() if choice.steps is not None}
    eased = {source: gram.smoothed(scales[source]) if source in scales else gram for source, gram in grams.items()}
    # A smoothed input has a name of its own, unless the smoothing is done by what makes it.
    steps |= {smoothed(source): found for source, found in steps.items()}
    eased |= {smoothed(source): gram for source, gram in eased.items()}
    editor = Editor(smooth(model, scales))
    done: dict[str, Rows | Steps] = {}
    count = 0
    for product, weight in editor.products():
        source = product.input[0]
        if source not in done:
            done[source] = (
                _quantise_ahead(editor, product, steps[source]) if source in steps else _quantise_rows(editor, product)
            )
        rounded = compensated(weight, eased[source]) if source in eased else nearest(weight)
        _replace(editor, product, rounded, done[source])
        count += 1
    _embeddings(editor)
    fixed = sum(choice.steps is not None for choice in choices.values())
    return Quantised(editor.model(), count, smoothed=len(scales), fixed=fixed)


def _replace(editor: Editor, product: onnx.NodeProto, rounded: Rounded, found: "Rows | Steps") -> None:
    """Put the int8 product in the place of `product`, and of the bias behind it where the kernel can add it."""
    source, out = product.input[0], product.output[0]
    weight, scale = _put_weight(editor, product.name, rounded)
    if isinstance(found, Steps):
        inputs = [f"{source}.q", weight, f"{source}.step", scale, f"{source}.zero"]
        (behind,) = editor.consumers(out)
        bias = behind.input[1] if behind.op_type in ("Add", "BiasGelu") else ""
        if behind.op_type == "Add" and behind.input[0] == out and editor.constant(bias) is not None:
            editor.replace(product, [node("MatMulIntegerToFloat", behind.output[0], [*inputs, "", bias], CONTRIB)])
            editor.replace(behind, [])
        elif behind.op_type == "BiasGelu":
            editor.replace(product, [node("MatMulIntegerToFloat", out, [*inputs, "", bias], CONTRIB)])
            editor.replace(behind, [node("Gelu", behind.output[0], [out], CONTRIB)])
        else:
            editor.replace(product, [node("MatMulIntegerToFloat", out, inputs, CONTRIB)])
        return
    unit, inputs = f"{product.name}.unit", [f"{source}.q", weight, found.step, scale, found.zero]
    editor.replace(
        product, [node("MatMulIntegerToFloat", unit, inputs, CONTRIB), node("Mul", out, [unit, f"{source}.max"])]
    )
    if found.shift is not None:
        _take_back(editor, out, found.shift @ (rounded.steps * rounded.scale))


def _quantise_ahead(editor: Editor, product: onnx.NodeProto, steps: Steps) -> Steps:
    """Make the input of `product` uint8 in fixed `steps`."""
    source = product.input[0]
    size, zero = editor.put(f"{source}.step", np.array(steps.size)), editor.put(f"{source}.zero", np.array(steps.zero))
    editor.insert_before(product, [node("QuantizeLinear", f"{source}.q", [source, size, zero])])
    return steps


class Rows(NamedTuple):
    """How an input became uint8 by rows: names of the step and the zero point, and what was added to it before."""

    step: str
    zero: str
    shift: NDArray[np.float32] | None


def _quantise_rows(editor: Editor, product: onnx.NodeProto) -> Rows:
    """Make the input of `product` `[..., width]`, divided by its rows' maxima `[..., 1]`, uint8.

    Around 128 where values have both signs; from 0 behind a GELU, whose least value is known, so that all 256 steps
    serve the positive side. A row of zeros has the maximum 0: whatever its steps become, the product is 0.
    """
    source = product.input[0]
    shift = lift(editor, source)
    if shift is None:
        step, zero = editor.put("row.step", np.array(1 / 127, np.float32)), np.array(128, np.uint8)
        first, measured, scaled = node("Abs", f"{source}.abs", [source]), f"{source}.abs", source
    else:
        step, zero = editor.put("row.step.positive", np.array(1 / 255, np.float32)), np.array(0, np.uint8)
        added = editor.put(f"{source}.shift", shift)
        first, measured, scaled = node("Add", f"{source}.up", [source, added]), f"{source}.up", f"{source}.up"
    zero_name = editor.put(f"row.zero.{zero}", zero)
    nodes = [
        first,
        node("ReduceMax", f"{source}.max", [measured], axes=[-1], keepdims=1),
        node("Div", f"{source}.scaled", [scaled, f"{source}.max"]),
        node("QuantizeLinear", f"{source}.q", [f"{source}.scaled", step, zero_name]),
    ]
    editor.insert_before(product, nodes)
    return Rows(step, zero_name, shift)


def _take_back(editor: Editor, product: str, surplus: NDArray[np.float32]) -> None:
    """Subtract what a shifted input adds to a product, in the bias that follows it."""
    (added,) = editor.consumers(product)
    bias = editor.constant(added.input[1])
    assert bias is not None
    editor.put(added.input[1], (bias - surplus).astype(np.float32))


def _put_weight(editor: Editor, name: str, rounded: Rounded) -> tuple[str, str]:
    """Store a weight as int8 with a scale for each column."""
    return (
        editor.put(f"{name}.weight.q", rounded.steps),
        editor.put(f"{name}.weight.scale", rounded.scale),
    )


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
