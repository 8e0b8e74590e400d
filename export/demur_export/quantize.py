"""Recipes: how weights and activations are quantised. One function a recipe.

`int8` has one scale for all activations of a product, so a text's answer depends on what shares its run. `int8-row`
scales every row (token) by its own maximum, or by a scale fixed ahead where that is nearly as near. Both move outlier
channels from activations into weights beforehand, and round weights so that their errors cancel on real inputs.
`int8-weights` leaves activations in fp32. `fp16` is for CUDA.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from demur_export import half, products, rounding
from demur_export.graph.builder import CONTRIB
from demur_export.graph.editor import Editor, node
from demur_export.parity import distance
from demur_export.plan import Choice, mixed, search
from demur_export.products import Rows
from demur_export.rounding import Gram, Rounded, Steps
from demur_export.run import Texts, logits, observe, thinned
from demur_export.smoothing import ease, groups, lift, smoothed

# How many times as far from fp32 scales fixed ahead may be as those of rows: they save 4 to 8 % of the time.
_FIXED_NOISE = 1.7
# Tokens of the texts calibrated on, in all. Twice as many took twice as long and were no nearer.
_TOKENS = 24_000


@dataclass(frozen=True)
class Quantised:
    """A quantised graph, and what was done.

    Attributes:
        model: The graph.
        products: Matrix products with constant weights that are in 8 bits now.
        smoothed: Inputs of products that were smoothed.
        fixed: Inputs of products with a scale fixed ahead.
        left: Names of the products that were left in fp32.
    """

    model: onnx.ModelProto
    products: int
    smoothed: int = 0
    fixed: int = 0
    left: tuple[str, ...] = ()


class Calibrated:
    """A graph with all that `int8` and `int8-row` take from calibration texts; each part is made when it is needed.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts. They give the inputs' ranges and correlations, and tell which
            smoothing to keep; long texts are taken less often than short ones (`run.thinned`).
    """

    def __init__(self, model: onnx.ModelProto, calibration: Texts) -> None:
        self.model, self.calibration = model, thinned(calibration, _TOKENS)
        sources = list(groups(Editor(model)))
        observed = observe(model, sources, self.calibration)
        self._by_row, self._ahead = search(model, observed, fixed=False), search(model, observed, fixed=True)
        self.grams = {source: seen.gram for source, seen in observed.items()}
        self.errors = {source: choice.error for source, choice in self._by_row.items()}
        self._rounded: dict[str, Rounded] = {}

    @cached_property
    def _begun(self) -> onnx.ModelProto:
        """The graph that is quantised again and again: its embeddings are in 8 bits from the start."""
        return embedded(self.model)

    @cached_property
    def reference(self) -> NDArray[np.float32]:
        """The fp32 graph's logits of the calibration texts."""
        return logits(self.model, self.calibration)

    def distance(self, made: Quantised) -> float:
        """How far a quantised graph is from the fp32 graph on the calibration texts, as the gate measures it."""
        return distance(logits(made.model, self.calibration), self.reference)

    @cached_property
    def rows(self) -> Quantised:
        """Every input with a scale for each row: plain, or smoothed if that is nearer."""
        return self.by_rows()

    def by_rows(self, left: Collection[str] = ()) -> Quantised:
        """As `rows`, but for the products whose names are in `left`: they stay in fp32."""
        return by_choices(self._begun, self._choices, self.grams, left, self._rounded)

    @cached_property
    def _choices(self) -> Mapping[str, Choice]:
        plain = self.distance(by_choices(self._begun, {}, self.grams))
        eased = self.distance(by_choices(self._begun, self._by_row, self.grams, rounded=self._rounded))
        if eased <= plain:
            return self._by_row
        self._rounded.clear()
        return {}

    @cached_property
    def faster(self) -> Quantised | None:
        """As `rows`, but with scales fixed ahead where these fit nearly as well; None if there are none that do."""
        made = by_choices(self._begun, mixed(self._by_row, self._ahead), self.grams)
        return made if made.fixed and self.distance(made) <= _FIXED_NOISE * self.distance(self.rows) else None

    @cached_property
    def tensors(self) -> Quantised:
        """Every input with one scale for all rows: plain, or smoothed if that is nearer."""
        found = [_per_tensor(self._begun, {}, {}), _per_tensor(self._begun, _smoothing(self._ahead), self.grams)]
        return min(found, key=self.distance)


def fp32(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Leave the graph as it is."""
    return Quantised(model, 0)


def int8(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights per column, activations with one scale for the whole tensor; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts; without any, nothing is smoothed and weights are rounded to the
            nearest step.
    """
    return Calibrated(model, calibration).tensors if calibration else _per_tensor(embedded(model), {}, {})


def int8_row(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights per column; activations per row, or as fixed ahead; inputs smoothed where that helps; embeddings per row.

    Args:
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of real texts. Of plain rows and smoothed ones those are taken that are nearer
            to the fp32 graph; fixed scales, where they stay nearly as near.
    """
    found = Calibrated(model, calibration)
    return found.faster or found.rows


def int8_weights(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights in blocks of a column, activations as they are; embeddings per row."""
    editor = Editor(embedded(model))
    count = 0
    for product, weight in editor.products():
        products.replace_in_blocks(editor, product, weight)
        count += 1
    return Quantised(editor.model(), count)


def fp16(model: onnx.ModelProto, calibration: Texts) -> Quantised:
    """Weights and activations in half precision, logits in fp32."""
    return Quantised(half.convert(model), 0)


RECIPES: dict[str, Callable[[onnx.ModelProto, Texts], Quantised]] = {
    "int8-row": int8_row,
    "int8": int8,
    "int8-weights": int8_weights,
    "fp16": fp16,
    "fp32": fp32,
}


def embedded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with its word embeddings in 8 bits, and all else as it was."""
    editor = Editor(model)
    products.embeddings(editor)
    return editor.model()


def by_choices(
    model: onnx.ModelProto,
    choices: Mapping[str, Choice],
    grams: Mapping[str, Gram],
    left: Collection[str] = (),
    rounded: dict[str, Rounded] | None = None,
) -> Quantised:
    """Quantise every product as chosen for its input; one scale for each row where nothing is.

    Args:
        model: The graph; its embeddings stay as they are.
        choices: How each input of products becomes uint8.
        grams: What each input's rows looked like, for rounding the weights.
        left: Names of products to leave in fp32.
        rounded: Weights rounded before with the same choices, by their product's name; what is missing is added.
    """
    scales = _smoothing(choices)
    steps = {source: choice.steps for source, choice in choices.items() if choice.steps is not None}
    # A smoothed input has a name of its own, unless the smoothing is done by what makes it.
    steps |= {smoothed(source): found for source, found in steps.items()}
    editor = ease(model, scales)
    # subtle: before any product is replaced, since a bias that moves into a product is no longer seen behind it.
    shifts = {product.input[0]: lift(editor, product.input[0]) for product, _ in editor.products()}
    done: dict[str, Rows | Steps] = {}
    rounded = {} if rounded is None else rounded
    count = 0
    for product, weight in editor.products():
        if product.name in left:
            continue
        source = product.input[0]
        if source not in done:
            done[source] = (
                products.quantise_ahead(editor, product, steps[source])
                if source in steps
                else products.quantise_rows(editor, product, shifts[source])
            )
        if product.name not in rounded:
            rounded[product.name] = rounding.rounded(weight, _eased(grams, scales, source))
        products.replace(editor, product, rounded[product.name], done[source])
        count += 1
    fixed = sum(choice.steps is not None for choice in choices.values())
    return Quantised(editor.model(), count, smoothed=len(scales), fixed=fixed, left=tuple(left))


def _per_tensor(
    model: onnx.ModelProto, scales: Mapping[str, NDArray[np.float32]], grams: Mapping[str, Gram]
) -> Quantised:
    editor = ease(model, scales)
    done: set[str] = set()
    count = 0
    for product, weight in editor.products():
        source = product.input[0]
        if source not in done:
            done.add(source)
            parts = [f"{source}.q", f"{source}.scale", f"{source}.zero"]
            editor.insert_before(product, [helper.make_node("DynamicQuantizeLinear", [source], parts)])
        stored, scale = products.put_weight(
            editor, product.name, rounding.rounded(weight, _eased(grams, scales, source))
        )
        inputs = [f"{source}.q", stored, f"{source}.scale", scale, f"{source}.zero"]
        editor.replace(product, [node("MatMulIntegerToFloat", product.output[0], inputs, CONTRIB)])
        count += 1
    return Quantised(editor.model(), count, smoothed=len(scales))


def _smoothing(choices: Mapping[str, Choice]) -> dict[str, NDArray[np.float32]]:
    return {source: choice.smoothing for source, choice in choices.items() if choice.smoothing is not None}


def _eased(grams: Mapping[str, Gram], scales: Mapping[str, NDArray[np.float32]], source: str) -> Gram | None:
    """Return the gram of an input as it is once smoothed, under either name that a smoothed input can have."""
    # subtle: one at a time, since those of a large model together take gigabytes.
    original = next((name for name in scales if smoothed(name) == source), source)
    gram = grams.get(original)
    return gram if gram is None or original not in scales else gram.smoothed(scales[original])
