"""Puts int8 products in the place of fp32 ones, and int8 embeddings in the place of the word embeddings."""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from demur_export.graph.builder import CONTRIB, WORDS
from demur_export.graph.editor import Editor, node
from demur_export.rounding import Rounded, Steps

# 1 is fp32: products of `MatMulNBits` with activations as they are. 4 would quantise activations in blocks, and an
# outlier spoils its block (onnxruntime's ContribOperators.md, attribute accuracy_level).
_FP32_ACTIVATIONS = 1
# Weights that share a scale of four bytes: an eighth of a byte more for each.
_BLOCK = 32


class Rows(NamedTuple):
    """How an input became uint8 by rows: names of the step and the zero point, and what was added to it before."""

    step: str
    zero: str
    shift: NDArray[np.float32] | None


def replace(editor: Editor, product: onnx.NodeProto, rounded: Rounded, found: Rows | Steps) -> None:
    """Put the int8 product in the place of `product`, and of the bias behind it where the kernel can add it."""
    source, out = product.input[0], product.output[0]
    weight, scale = put_weight(editor, product.name, rounded)
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


def replace_in_blocks(editor: Editor, product: onnx.NodeProto, weight: NDArray[np.float32]) -> None:
    """Put a product with 8-bit weights in blocks of a column, activations as they are, in the place of `product`."""
    width, columns = weight.shape
    blocks = -(-width // _BLOCK)
    padded = np.zeros((columns, blocks * _BLOCK), np.float32)
    padded[:, :width] = weight.T
    padded = padded.reshape(columns, blocks, _BLOCK)
    scale = np.maximum(np.abs(padded).max(2) / 127, 1e-12).astype(np.float32)
    # The kernel's zero point is 128 where none is given.
    stored = editor.put(f"{product.name}.weight.q", (np.rint(padded / scale[..., None]) + 128).astype(np.uint8))
    inputs = [product.input[0], stored, editor.put(f"{product.name}.weight.scale", scale)]
    sizes = {"K": width, "N": columns, "bits": 8, "block_size": _BLOCK, "accuracy_level": _FP32_ACTIVATIONS}
    editor.replace(product, [node("MatMulNBits", product.output[0], inputs, CONTRIB, **sizes)])


def quantise_ahead(editor: Editor, product: onnx.NodeProto, steps: Steps) -> Steps:
    """Make the input of `product` uint8 in fixed `steps`."""
    source = product.input[0]
    size, zero = editor.put(f"{source}.step", np.array(steps.size)), editor.put(f"{source}.zero", np.array(steps.zero))
    editor.insert_before(product, [node("QuantizeLinear", f"{source}.q", [source, size, zero])])
    return steps


def quantise_rows(editor: Editor, product: onnx.NodeProto, shift: NDArray[np.float32] | None) -> Rows:
    """Make the input of `product` `[..., width]`, divided by its rows' maxima `[..., 1]`, uint8.

    Around 128 where values have both signs; from 0 behind a GELU, whose least value is known, so that all 256 steps
    serve the positive side. A row of zeros has the maximum 0: whatever its steps become, the product is 0.

    Args:
        editor: The graph.
        product: One of the products that read the input.
        shift: What makes every channel zero or more, where that is known (`smoothing.lift`).
    """
    source = product.input[0]
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


def put_weight(editor: Editor, name: str, rounded: Rounded) -> tuple[str, str]:
    """Store a weight as int8 with a scale for each column."""
    return (
        editor.put(f"{name}.weight.q", rounded.steps),
        editor.put(f"{name}.weight.scale", rounded.scale),
    )


def embeddings(editor: Editor) -> None:
    """Store the word embeddings as int8 with a scale for each row, and one for each column.

    Rows are looked up one by one. A few columns are much larger than the rest, and would take all steps of every row;
    with columns brought to one size the error's square is less than a third in a trained MiniLM, for one multiplication
    a text.
    """
    table = editor.constant(WORDS)
    gather = next(n for n in editor.nodes if n.op_type == "Gather" and n.input[0] == WORDS)
    assert table is not None
    # subtle: of rows brought to one size, or the columns would be those of the few largest rows.
    sizes = np.maximum(np.sqrt((table**2).mean(1, keepdims=True)), 1e-12)
    columns = np.maximum((np.abs(table) / sizes).max(0), 1e-6).astype(np.float32)
    even = table / columns
    scale = np.maximum(np.abs(even).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)
    quantised = editor.put(f"{WORDS}.q", np.rint(even / scale).astype(np.int8))
    scales = editor.put(f"{WORDS}.scale", scale)
    ids, out = gather.input[1], gather.output[0]
    editor.replace(
        gather,
        [
            node("Gather", f"{out}.q", [quantised, ids]),
            node("Cast", f"{out}.unit", [f"{out}.q"], to=onnx.TensorProto.FLOAT),
            node("Gather", f"{out}.scale", [scales, ids]),
            node("Mul", f"{out}.even", [f"{out}.unit", f"{out}.scale"]),
            node("Mul", out, [f"{out}.even", editor.put(f"{WORDS}.columns", columns)]),
        ],
    )
