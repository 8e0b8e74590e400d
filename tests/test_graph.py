"""The graph that demur runs computes what PyTorch computes, and quantising it keeps what it promises."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from demur.errors import CheckpointError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")

import _checkpoints

from demur_export import checkpoint, convert, quantize
from demur_export.graph import bert
from demur_export.graph.editor import Editor
from demur_export.plan import mixed, search
from demur_export.reference import torch_logits
from demur_export.rounding import Gram, Rounded, Steps, compensated, nearest, round_rows
from demur_export.run import Observed, logits, observe
from demur_export.smoothing import ease, groups

LAYERS = 2
PRODUCTS = 6 * LAYERS + 1  # query, key, value, out, up, down, and the pooler


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    return checkpoint.read(_checkpoints.bert(tmp_path_factory.mktemp("checkpoint"), layers=LAYERS))


@pytest.fixture(scope="module")
def exported(source: checkpoint.Checkpoint) -> onnx.ModelProto:
    return convert.to_onnx(source)


@pytest.fixture(scope="module")
def tuned(source: checkpoint.Checkpoint, exported: onnx.ModelProto) -> onnx.ModelProto:
    return bert.build(exported, source.config)


def texts(lengths: list[int], seed: int = 0) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 100, (1, n)).astype(np.int64) for n in lengths]


@pytest.fixture(scope="module")
def calibration() -> list[NDArray[np.int64]]:
    return texts([4, 9, 16, 25, 40, 60, 80, 128] * 4)


def noise(model: onnx.ModelProto, reference: onnx.ModelProto, ids: list[NDArray[np.int64]]) -> float:
    """Root mean square of the logit difference's error over its spread."""
    found, true = logits(model, ids), logits(reference, ids)
    error = (found[:, 1] - found[:, 0]) - (true[:, 1] - true[:, 0])
    return float(np.sqrt((error**2).mean()) / (true[:, 1] - true[:, 0]).std())


@pytest.mark.parametrize("n", [1, 2, 63, 64, 127, 128])
def test_the_graph_computes_what_pytorch_computes(
    source: checkpoint.Checkpoint, tuned: onnx.ModelProto, n: int
) -> None:
    ids = texts([n])
    assert logits(tuned, ids) == pytest.approx(torch_logits(source, ids), abs=2e-4)


def test_rows_of_a_batch_are_computed_alone(tuned: onnx.ModelProto) -> None:
    ids = texts([33] * 5)
    together = logits(tuned, [np.concatenate(ids)])
    assert together == pytest.approx(logits(tuned, ids), abs=2e-4)


def test_the_graph_has_one_input_and_no_mask(tuned: onnx.ModelProto) -> None:
    assert [i.name for i in tuned.graph.input] == ["token_ids"]
    kinds = {node.op_type for node in tuned.graph.node}
    assert "MultiHeadAttention" in kinds
    assert not kinds & {"Softmax", "Where", "Erf", "SkipLayerNormalization"}


@pytest.mark.parametrize("recipe", ["int8", "int8-row", "int8-weights"])
def test_every_product_is_quantised(tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]], recipe: str) -> None:
    made = quantize.RECIPES[recipe](tuned, calibration)
    assert made.products == PRODUCTS
    assert not any(node.op_type == "MatMul" for node in made.model.graph.node)
    large = [t.name for t in made.model.graph.initializer if t.data_type == 1 and np.prod(t.dims) >= 64 * 64]
    assert large == ["embeddings.positions"]


def test_layers_with_equal_weights_are_not_lost(tmp_path: Path, calibration: list[NDArray[np.int64]]) -> None:
    from transformers import BertForSequenceClassification

    folder = _checkpoints.bert(tmp_path, layers=LAYERS)
    model = BertForSequenceClassification.from_pretrained(folder)
    model.bert.encoder.layer[1].load_state_dict(model.bert.encoder.layer[0].state_dict())
    model.save_pretrained(folder)
    twin = checkpoint.read(folder)
    exported = convert.to_onnx(twin)
    assert sum(node.op_type == "Identity" for node in exported.graph.node) > 5
    tuned = bert.build(exported, twin.config)
    assert logits(tuned, calibration[:8]) == pytest.approx(torch_logits(twin, calibration[:8]), abs=2e-4)
    for recipe in ("int8", "int8-row", "int8-weights"):
        assert quantize.RECIPES[recipe](tuned, calibration).products == PRODUCTS


def test_int8_row_keeps_what_per_tensor_int8_loses_to_outliers(
    tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]
) -> None:
    unseen = texts([7, 20, 50, 90, 120] * 6, seed=1)
    rows = noise(quantize.int8_row(tuned, calibration).model, tuned, unseen)
    tensor = noise(quantize.int8(tuned, calibration).model, tuned, unseen)
    plain = noise(quantize.int8(tuned, []).model, tuned, unseen)  # nothing smoothed
    assert rows < 0.05
    assert tensor > rows
    assert plain > 2 * rows


@pytest.mark.parametrize("fixed", [False, True])
def test_int8_row_gives_a_row_the_same_bits_in_any_batch(
    tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]], fixed: bool
) -> None:
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    choices = search(tuned, observed, fixed=fixed)
    made = quantize.by_choices(tuned, choices, {source: seen.gram for source, seen in observed.items()})
    assert made.fixed == (len(choices) if fixed else 0)
    model, ids = made.model, texts([48] * 6, seed=2)
    assert logits(model, [np.concatenate(ids)]).tobytes() == logits(model, ids).tobytes()
    assert logits(model, [np.concatenate(ids[::-1])]).tobytes() == logits(model, ids[::-1]).tobytes()


def test_smoothing_evens_out_inputs_and_changes_no_result_before_quantisation(
    tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]
) -> None:
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    found = {source: choice.smoothing for source, choice in search(tuned, observed, fixed=False).items()}
    scales = {source: scale for source, scale in found.items() if scale is not None}
    eased = ease(tuned, scales).model()
    assert len(scales) >= LAYERS
    assert logits(eased, calibration) == pytest.approx(logits(tuned, calibration), abs=1e-3)
    after = observe(eased, list(groups(Editor(eased))), calibration)

    def spread(seen: dict[str, Observed]) -> float:
        return float(np.mean([np.log(np.maximum(one.maxima, 1e-6)).std() for one in seen.values()]))

    assert spread(after) < spread(observed)


def test_compensated_rounding_loses_less_on_inputs_like_those_it_saw() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(8, 48)).astype(np.float32)  # inputs of eight directions, as in a trained model
    seen, unseen = (rng.normal(size=(n, 8)).astype(np.float32) @ mixing for n in (4000, 500))
    weight = rng.normal(size=(48, 16)).astype(np.float32)
    gram = Gram((seen.T @ seen / len(seen)).astype(float), len(seen))

    def error(rounded: Rounded) -> float:
        return float(np.mean((unseen @ (rounded.steps * rounded.scale) - unseen @ weight) ** 2))

    assert error(compensated(weight, gram)) < error(nearest(weight)) / 4


@pytest.mark.parametrize("lift", [None, np.full(16, 0.17, np.float32)])
def test_rounding_a_row_is_off_by_half_a_step_at_most(lift: NDArray[np.float32] | None) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    rows = rows if lift is None else np.maximum(rows, -0.17)
    step = np.abs(rows).max(1) / 127 if lift is None else (rows.max(1) + 0.17) / 255
    assert (np.abs(round_rows(rows, lift) - rows).max(1) <= step / 2 + 1e-6).all()
    assert (round_rows(np.zeros((1, 16), np.float32), None) == 0).all()


def test_fixed_steps_are_off_by_half_a_step_at_most_and_hold_what_lies_beyond_to_the_ends() -> None:
    rows = np.random.default_rng(0).uniform(-1, 3, (50, 16)).astype(np.float32)
    steps = Steps.between(-1, 3)
    assert np.abs(steps.round(rows) - rows).max() <= steps.size / 2 + 1e-6
    assert steps.round(np.array([-9, 0, 9], np.float32)) == pytest.approx([-1, 0, 3], abs=float(steps.size))
    assert Steps.between(1, 3).zero == 0  # zero itself is always a step
    assert Steps.between(-3, -1).zero == 255


def test_a_scale_is_fixed_ahead_only_where_it_fits_every_row(
    tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]
) -> None:
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    by_row = search(tuned, observed, fixed=False)

    def fixed(changed: dict[str, Observed]) -> set[str]:
        choices = mixed(by_row, search(tuned, observed | changed, fixed=True))
        return {source for source, choice in choices.items() if choice.steps is not None}

    steady = min(fixed({}))
    seen = observed[steady]
    assert steady not in fixed({steady: seen._replace(highest=seen.highest * 300)})
    # Some rows a hundred times the others: their own errors are small, those of the others large.
    rows = seen.rows.copy()
    rows[::10] *= 100
    assert steady not in fixed({steady: seen._replace(rows=rows, lowest=rows.min(0), highest=rows.max(0))})


def test_inputs_of_one_row_a_text_keep_a_scale_of_their_own(
    tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]
) -> None:
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    single = {source for source, seen in observed.items() if seen.gram.rows == len(calibration)}
    assert single  # the last layer computes the first token only
    assert not single & search(tuned, observed, fixed=True).keys()


def test_int8_row_fixes_scales_at_little_cost(tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]) -> None:
    observed = observe(tuned, list(groups(Editor(tuned))), calibration)
    grams = {source: seen.gram for source, seen in observed.items()}
    unseen = texts([7, 20, 50, 90, 120] * 6, seed=1)
    made = quantize.int8_row(tuned, calibration)
    rows = quantize.by_choices(quantize.embedded(tuned), search(tuned, observed, fixed=False), grams)
    assert made.fixed
    assert len(made.model.graph.node) < len(rows.model.graph.node)
    assert noise(made.model, tuned, unseen) < 2 * noise(rows.model, tuned, unseen)


def test_a_weight_that_would_be_left_out_is_an_error(source: checkpoint.Checkpoint, exported: onnx.ModelProto) -> None:
    extra = onnx.ModelProto()
    extra.CopyFrom(exported)
    extra.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 4), np.float32), "adapter.weight"))
    with pytest.raises(CheckpointError, match=r"weights that BERT has not: adapter.weight"):
        bert.build(extra, source.config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
        ("problem_type", "multi_label_classification"),
    ],
)
def test_a_variant_that_the_graph_does_not_know_is_an_error(
    source: checkpoint.Checkpoint, exported: onnx.ModelProto, key: str, value: str
) -> None:
    with pytest.raises(CheckpointError, match=f"{key} is '{value}'"):
        bert.build(exported, source.config | {key: value})
