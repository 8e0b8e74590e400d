"""ModernBERT's graph can be quantised: every product, row by row, smoothed."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")


import _modernbert_graphs
from _modernbert_graphs import PRODUCTS, VARIANTS, Make, assert_equal, build, read, texts

from demur_export import quantize
from demur_export.graph.builder import Builder
from demur_export.graph.editor import Editor
from demur_export.plan import search
from demur_export.run import logits, observe
from demur_export.smoothing import ease, groups, lift

make, source, tuned, calibration = (
    _modernbert_graphs.make,
    _modernbert_graphs.source,
    _modernbert_graphs.tuned,
    _modernbert_graphs.calibration,
)


@pytest.mark.parametrize("variant", ["mean", "cls"])
def test_int8_row_gives_a_row_the_same_bits_in_any_batch(
    make: Make, calibration: list[NDArray[np.int64]], variant: str
) -> None:
    _, tuned = make(**VARIANTS[variant] | {"num_hidden_layers": 2})
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    grams = {source: seen.gram for source, seen in observed.items()}
    ids = texts([129] * 6, seed=2)
    for fixed in (False, True):
        model = quantize.by_choices(tuned, search(tuned, observed, fixed=fixed), grams).model
        assert logits(model, [np.concatenate(ids)]).tobytes() == logits(model, ids).tobytes()
        assert logits(model, [np.concatenate(ids[:2:-1])]).tobytes() == logits(model, ids[:2:-1]).tobytes()


def test_what_does_not_fit_in_memory_is_observed_in_several_runs(tuned: onnx.ModelProto) -> None:
    names, ids = list(groups(Editor(tuned))), texts([20, 100])
    whole, parts = observe(tuned, names, ids), observe(tuned, names, ids, memory=100 * 64 * 4 * 3)
    assert list(parts) == list(whole)
    for name in names:
        assert parts[name].rows.tobytes() == whole[name].rows.tobytes()
        assert parts[name].gram.matrix.tobytes() == whole[name].gram.matrix.tobytes()


@pytest.mark.parametrize("recipe", ["int8", "int8-row"])
def test_every_product_is_quantised(tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]], recipe: str) -> None:
    made = quantize.RECIPES[recipe](tuned, calibration)
    assert made.products == PRODUCTS
    kinds = [node.op_type for node in made.model.graph.node]
    assert kinds.count("MatMulIntegerToFloat") == PRODUCTS
    assert kinds.count("MatMul") == 2  # weights and values, in the two local layers
    large = {t.name for t in made.model.graph.initializer if t.data_type == 1 and np.prod(t.dims) >= 64 * 64}
    assert large == {f"rotary.{kind}.{part}" for kind in ("global", "local") for part in ("cos", "sin")}


@pytest.mark.parametrize("variant", ["mean", "cls", "biases"])
def test_smoothing_changes_no_result_and_costs_nodes_only_where_it_must(
    make: Make, calibration: list[NDArray[np.int64]], variant: str
) -> None:
    _, tuned = make(**VARIANTS[variant])
    names = list(groups(Editor(tuned)))
    observed = observe(tuned, names, calibration[:8])
    rng = np.random.default_rng(0)
    scales = {name: np.exp(rng.normal(size=len(observed[name].maxima))).astype(np.float32) for name in names}
    eased = ease(tuned, scales).model()
    assert_equal(logits(eased, calibration), logits(tuned, calibration))
    added = {node.name for node in eased.graph.node} - {node.name for node in tuned.graph.node}
    # The embeddings are the residual too, and the head's input is one row; with one token's queries in the last layer,
    # its norm is read by a product and by what cuts that token out.
    head = {
        "mean": {"mean"},
        "biases": {"mean"},
        "cls": {"norm", "layer.3.attention.norm.first", "layer.3.attention.norm"},
    }
    assert added == {f"{name}.smooth" for name in head[variant] | {"embeddings.norm"}}
    after = observe(eased, [name for name in names if f"{name}.smooth" not in added], calibration[:8])
    for name, seen in after.items():
        assert seen.maxima == pytest.approx(observed[name].maxima / scales[name], rel=1e-3, abs=1e-5)


def test_a_gated_gelu_is_not_taken_for_one_of_known_least_value() -> None:
    builder = Builder()
    bias = builder.constant("bias", np.zeros(4, np.float32))
    gelu = builder.contrib("BiasGelu", "gelu", ["token_ids", bias])
    builder.add("Mul", "gated", [gelu, "token_ids"])
    builder.add("Mul", "smoothed", [gelu, builder.constant("factor", np.full(4, 2, np.float32))])
    editor = Editor(builder.model(2, 8))
    assert lift(editor, "gated") is None
    assert lift(editor, "gelu") == pytest.approx([0.16997] * 4)
    assert lift(editor, "smoothed") == pytest.approx([2 * 0.16997] * 4)


def test_int8_row_keeps_what_per_tensor_int8_loses_to_outliers(
    tmp_path: Path, calibration: list[NDArray[np.int64]]
) -> None:
    tuned = build(read(tmp_path, num_hidden_layers=2, outliers=60.0, seed=1))
    unseen = texts([7, 20, 50, 90, 120, 200] * 6, seed=1)
    true = logits(tuned, unseen)

    def noise(recipe: str, texts: list[NDArray[np.int64]] = calibration) -> float:
        found = logits(quantize.RECIPES[recipe](tuned, texts).model, unseen)
        error = (found - true) @ [-1, 1]
        return float(np.sqrt((error**2).mean()) / (true @ [-1, 1]).std())

    rows, tensor = noise("int8-row"), noise("int8")
    assert rows < 0.03
    assert tensor > rows
    assert noise("int8", []) > 2 * rows  # nothing smoothed
