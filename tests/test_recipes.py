"""What each recipe does to a graph, and which products are left in fp32 when some have to be."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
pytest.importorskip("torch")

import _checkpoints
import _modernbert

from demur_export import checkpoint, convert, quantize, sensitivity
from demur_export.graph import bert, modernbert
from demur_export.graph.editor import Editor
from demur_export.graph.parameters import Parameters
from demur_export.parity import distance
from demur_export.plan import Choice, search
from demur_export.quantize import Calibrated
from demur_export.rounding import Steps
from demur_export.run import logits, observe, thinned
from demur_export.smoothing import ease, groups

LAYERS = 2
PRODUCTS = 6 * LAYERS + 1


def texts(lengths: list[int], seed: int = 0) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 100, (1, n)).astype(np.int64) for n in lengths]


CALIBRATION = texts([4, 9, 16, 25, 40, 60, 80, 128] * 4)
UNSEEN = texts([7, 20, 50, 90, 120] * 6, seed=1)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    source = checkpoint.read(_checkpoints.bert(tmp_path_factory.mktemp("checkpoint"), layers=LAYERS))
    return bert.build(convert.to_onnx(source), source.config)


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    source = checkpoint.read(_modernbert.modernbert(tmp_path_factory.mktemp("modernbert")))
    return modernbert.build(Parameters(checkpoint.weights(source.folder)), source.config)


@pytest.fixture(scope="module")
def calibrated(tuned: onnx.ModelProto) -> Calibrated:
    return Calibrated(tuned, CALIBRATION)


def noise(model: onnx.ModelProto, reference: onnx.ModelProto) -> float:
    """Root mean square of the logit difference's error over its spread."""
    found, true = (np.diff(logits(graph, UNSEEN), axis=1) for graph in (model, reference))
    return float(np.sqrt(((found - true) ** 2).mean()) / true.std())


def test_8_bit_weights_read_activations_as_they_are(tuned: onnx.ModelProto) -> None:
    made = quantize.int8_weights(tuned, CALIBRATION)
    nodes = [node for node in made.model.graph.node if node.op_type == "MatMulNBits"]
    assert made.products == len(nodes) == PRODUCTS
    levels = [a.i for node in nodes for a in node.attribute if a.name == "accuracy_level"]
    assert levels == [1] * PRODUCTS
    kinds = {node.op_type for node in made.model.graph.node}
    assert not kinds & {"MatMul", "QuantizeLinear", "DynamicQuantizeLinear"}
    plain = quantize.int8(tuned, [])
    assert noise(made.model, tuned) < noise(plain.model, tuned) / 2
    assert made.model.ByteSize() < tuned.ByteSize() / 2


def test_8_bit_weights_of_a_width_that_is_no_multiple_of_the_block(tuned: onnx.ModelProto) -> None:
    editor = Editor(tuned)
    down = next(node for node, _ in editor.products() if node.name == "layer.0.mlp.down")
    # The same function with the last 14 of 128 inner channels gone, which leaves a width of 114.
    up = next(node for node, _ in editor.products() if node.name == "layer.0.mlp.up")
    gelu = editor.consumers(up.output[0])[0]
    for name, columns in ((up.input[1], slice(None)), (gelu.input[1], None), (down.input[1], None)):
        value = editor.constant(name)
        assert value is not None
        editor.put(name, value[:, :114] if columns is not None else value[:114])
    narrow = editor.model()
    whole = noise(quantize.int8_weights(tuned, CALIBRATION).model, tuned)
    assert noise(quantize.int8_weights(narrow, CALIBRATION).model, narrow) < 1.5 * whole


@pytest.mark.parametrize("architecture", ["tuned", "modern"])
def test_half_precision_takes_token_ids_and_gives_fp32_logits(
    architecture: str, request: pytest.FixtureRequest
) -> None:
    model: onnx.ModelProto = request.getfixturevalue(architecture)
    made = quantize.fp16(model, CALIBRATION).model
    assert {t.data_type for t in made.graph.initializer if np.prod(t.dims) > 1000} == {onnx.TensorProto.FLOAT16}
    assert made.ByteSize() < 0.6 * model.ByteSize()
    assert logits(made, UNSEEN).dtype == np.float32
    assert 0 < noise(made, model) < 0.02


def test_what_half_precision_cannot_hold_is_no_number(tuned: onnx.ModelProto) -> None:
    editor = Editor(tuned)
    for name in ("layer.0.mlp.down.weight", "layer.0.mlp.up.weight"):
        weight = editor.constant(name)
        assert weight is not None
        editor.put(name, weight * 1000)
    assert np.isfinite(logits(editor.model(), UNSEEN[:4])).all()
    assert np.isnan(logits(quantize.fp16(editor.model(), []).model, UNSEEN[:4])).any()


def test_smoothing_helps_one_scale_for_all_rows(tuned: onnx.ModelProto) -> None:
    smoothed, plain = quantize.int8(tuned, CALIBRATION), quantize.int8(tuned, [])
    assert smoothed.smoothed > 0 == plain.smoothed
    assert noise(smoothed.model, tuned) < noise(plain.model, tuned)


def test_a_gelu_behind_a_fixed_scale_keeps_all_its_steps(tuned: onnx.ModelProto, calibrated: Calibrated) -> None:
    # The bias moves into the product before the GELU, and what reads the GELU is still scaled from its least value up.
    up, down = "layer.0.attention.norm", "layer.0.mlp.gelu"
    observed = observe(tuned, [up, down], CALIBRATION)
    steps = Steps.between(float(observed[up].lowest.min()), float(observed[up].highest.max()))
    made = quantize.by_choices(tuned, {up: Choice(None, steps, 0.0)}, calibrated.grams).model
    assert any(node.op_type == "Gelu" and node.output[0] == down for node in made.graph.node)
    (measured,) = [node.op_type for node in made.graph.node if node.input[:1] == [down] and node.op_type != "Div"]
    assert measured == "Add"


def test_a_channel_far_above_the_rest_is_multiplied_in_fp32(tuned: onnx.ModelProto) -> None:
    editor, channel, down = Editor(tuned), 7, "layer.0.mlp.gelu"
    for name in ("layer.0.mlp.up.weight", "layer.0.mlp.up.bias"):
        value = editor.constant(name)
        assert value is not None
        value = value.copy()
        value[..., channel] *= 60
        editor.put(name, value)
    spiked = editor.model()
    observed = observe(spiked, [*groups(Editor(spiked))], CALIBRATION)
    found = search(spiked, observed, fixed=False)[down]
    assert found.smoothing is not None
    assert np.flatnonzero(np.isinf(found.smoothing)).tolist() == [channel]
    taken_out = ease(spiked, {down: found.smoothing}).model()
    assert logits(taken_out, UNSEEN) == pytest.approx(logits(spiked, UNSEEN), abs=1e-3)
    left_in = found._replace(smoothing=np.where(np.isinf(found.smoothing), 1, found.smoothing).astype(np.float32))
    names, grams = [product.name for product, _ in Editor(spiked).products()], {down: observed[down].gram}
    others = [name for name in names if name != "layer.0.mlp.down"]
    out, whole = (quantize.by_choices(spiked, {down: choice}, grams, others).model for choice in (found, left_in))
    all_in_fp32 = quantize.by_choices(spiked, {}, grams, names).model
    assert noise(out, all_in_fp32) < noise(whole, all_in_fp32) / 2


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60), st.integers(1, 5000))
def test_calibration_takes_long_texts_less_often(lengths: list[int], tokens: int) -> None:
    given = [np.zeros((1, n), np.int64) for n in lengths]
    taken = thinned(given, tokens)
    total = sum(ids.shape[1] for ids in taken)
    assert all(any(ids is one for one in given) for ids in taken)
    if sum(lengths) <= tokens:
        assert len(taken) == len(given)
    else:  # off by whole texts
        assert tokens - 2 * max(lengths) < total <= tokens + 2 * max(lengths)


def test_products_are_left_in_fp32_by_name(tuned: onnx.ModelProto, calibrated: Calibrated) -> None:
    left = ["layer.0.attention.key", "layer.1.mlp.down"]
    made = calibrated.by_rows(left)
    assert (made.products, made.left) == (PRODUCTS - 2, tuple(left))
    assert [node.name for node in made.model.graph.node if node.op_type == "MatMul"] == left
    everything = [product.name for product, _ in Editor(tuned).products()]
    near = calibrated.by_rows(everything)
    assert near.products == 0
    assert distance(logits(near.model, UNSEEN), logits(tuned, UNSEEN)) < calibrated.distance(calibrated.rows)


def test_the_product_that_eight_bits_ruin_is_the_first_to_be_left(tuned: onnx.ModelProto) -> None:
    editor = Editor(tuned)
    changed = {}
    for name in ("layer.0.mlp.up.weight", "layer.0.mlp.up.bias", "layer.0.mlp.down.weight"):
        value = editor.constant(name)
        assert value is not None
        changed[name] = value.copy()
    # Two inner channels that are equal, and whose large weights cancel: they leave no steps for all others.
    for name in ("layer.0.mlp.up.weight", "layer.0.mlp.up.bias"):
        changed[name][..., 1] = changed[name][..., 0]
    changed["layer.0.mlp.down.weight"][:2] = np.array([[1e4], [-1e4]])
    for name, value in changed.items():
        editor.put(name, value)
    spoilt = Calibrated(editor.model(), CALIBRATION)
    assert sensitivity.ranking(spoilt)[0] == "layer.0.mlp.down"
    eased = spoilt.by_rows(["layer.0.mlp.down"])
    assert spoilt.distance(eased) < spoilt.distance(spoilt.rows) / 2


@given(st.integers(1, 400), st.data())
def test_the_fewest_are_found_by_bisection(most: int, data: st.DataObject) -> None:
    needed = data.draw(st.integers(1, most + 3))
    asked = []

    def passes(left: list[str]) -> bool:
        asked.append(len(left))
        return len(left) >= needed

    order = [str(i) for i in range(most)]
    assert sensitivity.fewest(order, most, passes) == (needed if needed <= most else None)
    assert len(asked) <= 2 + np.log2(most)
    assert sensitivity.fewest([], 0, passes) is None


def test_a_graph_that_half_of_its_products_cannot_bring_near_is_not_searched(
    calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, count = sensitivity.left_in_fp32(calibrated, calibrated.distance(calibrated.rows) * 0.7)
    assert count is not None
    assert calibrated.distance(calibrated.by_rows(order[:count])) <= calibrated.distance(calibrated.rows) * 0.7
    monkeypatch.setattr(sensitivity, "ranking", None)  # would take half an hour on a large model
    assert sensitivity.left_in_fp32(calibrated, 1e-9)[1] is None


def test_ranking_measures_all_products_of_a_small_model(calibrated: Calibrated) -> None:
    names = [product.name for product, _ in Editor(calibrated.model).products()]
    assert sorted(sensitivity.ranking(calibrated)) == sorted(names)
    assert len(groups(Editor(calibrated.model))) == len(observe(calibrated.model, [*calibrated.errors], CALIBRATION))
