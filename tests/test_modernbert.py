"""ModernBERT's graph computes what PyTorch computes, sees exactly its window, and can be quantised."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import demur
from demur.errors import CheckpointError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")

import _checkpoints
import _modernbert

from demur_export import checkpoint, quantize
from demur_export.graph.builder import Builder
from demur_export.graph.editor import Editor
from demur_export.graph.modernbert_config import Settings
from demur_export.pipeline import BUILDERS, Options, export
from demur_export.plan import search
from demur_export.reference import torch_logits
from demur_export.run import logits, observe
from demur_export.smoothing import groups, lift, smooth

LAYERS = 4
PRODUCTS = 7 * LAYERS + 1  # query, key, value, out, up, gate, down, and the head
# Where blocks of 64 queries begin and end, and where their keys do.
EDGES = [1, 2, 63, 64, 65, 127, 128, 129, 192, 193, 1000]
# Four layers of which the first and the last see all tokens; a window of 8 to either side.
SMALL: dict[str, Any] = {}
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": SMALL,
    "cls": {"classifier_pooling": "cls"},
    "cls behind a local layer": {"classifier_pooling": "cls", "num_hidden_layers": 5},
    "published window": {"local_attention": 128, "num_hidden_layers": 2},
    "biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    "one theta": {"local_rope_theta": None, "global_rope_theta": 500.0, "num_hidden_layers": 2},
    "global layers alone": {"global_attn_every_n_layers": 1, "num_hidden_layers": 2},
}


def read(folder: Path, **changes: Any) -> checkpoint.Checkpoint:
    return checkpoint.read(_modernbert.modernbert(folder, **changes))


def build(source: checkpoint.Checkpoint) -> onnx.ModelProto:
    return BUILDERS["modernbert"](source)


Make = Callable[..., tuple[checkpoint.Checkpoint, onnx.ModelProto]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gives a checkpoint and its graph, each made once."""
    made: dict[str, tuple[checkpoint.Checkpoint, onnx.ModelProto]] = {}

    def of(**changes: Any) -> tuple[checkpoint.Checkpoint, onnx.ModelProto]:
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            source = read(tmp_path_factory.mktemp("checkpoint"), **changes)
            made[key] = source, build(source)
        return made[key]

    return of


@pytest.fixture(scope="module")
def source(make: Make) -> checkpoint.Checkpoint:
    return make(**SMALL)[0]


@pytest.fixture(scope="module")
def tuned(make: Make) -> onnx.ModelProto:
    return make(**SMALL)[1]


def texts(lengths: list[int], seed: int = 0) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 400, (1, n)).astype(np.int64) for n in lengths]


@pytest.fixture(scope="module")
def calibration() -> list[NDArray[np.int64]]:
    return texts([4, 9, 16, 25, 40, 60, 80, 200] * 4)


def assert_equal(found: NDArray[np.float32], true: NDArray[np.float32]) -> None:
    """Equal to 1e-4 of the largest logit of each text."""
    assert np.all(np.abs(found - true).max(1) <= 1e-4 * np.abs(true).max(1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_computes_what_pytorch_computes_at_every_edge_of_a_block(make: Make, variant: str) -> None:
    source, graph = make(**VARIANTS[variant])
    ids = texts(EDGES)
    true = torch_logits(source, ids)
    assert true[:, 1].std() > 0.05  # texts differ, so equality means something
    assert_equal(logits(graph, ids), true)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_graph_computes_what_pytorch_computes_at_full_length(tmp_path: Path, pooling: str) -> None:
    source = read(
        tmp_path,
        hidden_size=32,
        num_attention_heads=2,
        max_position_embeddings=8192,
        local_attention=128,
        classifier_pooling=pooling,
    )
    assert source.max_tokens == 8192
    ids = texts([4096, 8191, 8192])
    assert_equal(logits(build(source), ids), torch_logits(source, ids))


@settings(max_examples=30)
@given(n=st.integers(1, 300))
def test_the_graph_computes_what_pytorch_computes_at_any_length(
    source: checkpoint.Checkpoint, tuned: onnx.ModelProto, reference: Any, n: int
) -> None:
    ids = texts([n], seed=n)
    with torch.inference_mode():
        true = reference(input_ids=torch.from_numpy(ids[0])).logits.numpy()
    assert_equal(logits(tuned, ids), true)


@pytest.fixture(scope="module")
def reference(source: checkpoint.Checkpoint) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(source.folder, reference_compile=False).eval()


@pytest.mark.parametrize("n", [64, 65, 129, 193])
@pytest.mark.parametrize("reach", [8, 64])
def test_a_token_sees_as_far_as_the_window_and_no_farther(make: Make, n: int, reach: int) -> None:
    """Of layer 1, where all tokens in sight count alike; layer 0 sees all, and adds nothing here."""
    _, graph = make(local_attention=2 * reach, num_hidden_layers=2, outliers=1.0)
    model = _zeroed(graph, "layer.0.attention.out.weight", "layer.1.attention.query.weight")
    # The text as it is, and with each of its tokens changed in turn.
    ids = np.repeat(texts([n])[0], n + 1, axis=0)
    changed = np.arange(n)
    ids[changed, changed] = 5 + (ids[changed, changed] + 1) % 300
    states = _states(model, ids)
    moved = np.abs(states[:-1] - states[-1]).max(2) > 1e-5
    assert (moved == (np.abs(changed[:, None] - changed) <= reach)).all()


def _zeroed(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    editor = Editor(model)
    for name in names:
        weight = editor.constant(name)
        assert weight is not None
        editor.put(name, np.zeros_like(weight))
    return editor.model()


def _states(model: onnx.ModelProto, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """States `[batch, n, hidden]` behind layer 1."""
    session = _session(model, "layer.1.mlp.sum")
    states: NDArray[np.float32] = session.run(["layer.1.mlp.sum"], {"token_ids": ids})[0]
    return states


def _session(model: onnx.ModelProto, inner: str) -> ort.InferenceSession:
    """A session of the model with an inner tensor among its outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.append(onnx.helper.make_tensor_value_info(inner, onnx.TensorProto.FLOAT, None))
    return ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_graph_has_one_input_and_no_mask_that_grows_with_the_square_of_the_text(tuned: onnx.ModelProto) -> None:
    assert [i.name for i in tuned.graph.input] == ["token_ids"]
    nodes = list(tuned.graph.node)
    assert sum(node.op_type == "MultiHeadAttention" for node in nodes) == 2  # layers 0 and 3
    for node in nodes:
        if node.op_type == "MultiHeadAttention":
            assert len(node.input) == 3
    session = _session(tuned, "window.band")
    shapes = [session.run(["window.band"], {"token_ids": texts([n])[0]})[0].shape for n in (20, 64, 65, 640)]
    assert shapes == [(1, 20, 20), (1, 64, 64), (2, 33, 49), (10, 64, 80)]


@pytest.mark.parametrize("variant", ["mean", "cls"])
@pytest.mark.parametrize("n", [33, 129])
def test_rows_of_a_batch_are_computed_alone(make: Make, variant: str, n: int) -> None:
    _, tuned = make(**VARIANTS[variant])
    ids = texts([n] * 5)
    assert_equal(logits(tuned, [np.concatenate(ids)]), logits(tuned, ids))


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
    eased = smooth(tuned, scales)
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


def test_a_checkpoint_becomes_a_bundle_that_classifies(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = _modernbert.modernbert(tmp_path / "source", outliers=5.0)
    template = tmp_path / "template.json"
    template.write_text(json.dumps(_modernbert.TEMPLATE))
    export(Options(folder, tmp_path / "out", "int8-row", template=str(template), accept=True))
    model = demur.load(tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "demur.json").read_text())
    assert (manifest["architecture"], manifest["max_tokens"], manifest["recipe"]) == ("modernbert", 1024, "int8-row")
    assert manifest["exported"]["products in 8 bits"] == PRODUCTS
    ids = AutoTokenizer.from_pretrained(folder)("<|user|>\nare you there?\n<|assistant|>\nSorry, I can't.").input_ids
    with torch.inference_mode():
        reference = AutoModelForSequenceClassification.from_pretrained(folder, reference_compile=False).eval()
        score = reference(torch.tensor([ids])).logits[0].softmax(0)[1].item()
    assert model.check("Sorry, I can't.", prompt="are you there?").score == pytest.approx(score, abs=0.1)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_weights_published_in_half_precision_are_read(tmp_path: Path, kind: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = _modernbert.modernbert(tmp_path)
    path = folder / checkpoint.WEIGHTS
    save_file({name: tensor.to(kind) for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    source = checkpoint.read(folder)
    ids = texts([5, 70])
    assert_equal(logits(build(source), ids), torch_logits(source, ids))


def test_a_checkpoint_saved_by_transformers_5_means_the_same(tmp_path: Path) -> None:
    changes = {"global_rope_theta": 300.0, "local_rope_theta": 50.0, "global_attn_every_n_layers": 2}
    source = read(tmp_path, **changes)
    ids = texts([5, 70, 200])
    before = torch_logits(source, ids)
    raw = json.loads((tmp_path / "config.json").read_text())
    for key in (*changes, "torch_dtype"):
        raw.pop(key, None)
    kinds = ["full_attention", "sliding_attention"]
    raw |= {
        "dtype": "float32",
        "layer_types": [kinds[i % 2] for i in range(LAYERS)],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta}
            for kind, theta in zip(kinds, (300.0, 50.0), strict=True)
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(raw))
    respelt = checkpoint.read(tmp_path)
    assert torch_logits(respelt, ids).tobytes() == before.tobytes()
    assert_equal(logits(build(respelt), ids), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_activation": "silu"}, "hidden_activation is 'silu'; demur's ModernBERT graph knows 'gelu'"),
        ({"classifier_activation": "relu"}, "classifier_activation is 'relu'"),
        ({"classifier_pooling": "max"}, "classifier_pooling is 'max'; demur's ModernBERT graph knows 'cls' or 'mean'"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"num_hidden_layers": "many"}, "num_hidden_layers is 'many', expected a whole number"),
        ({"num_attention_heads": 5}, "hidden_size is 64 and num_attention_heads 5; a head needs a whole and even"),
        ({"global_rope_theta": None}, "global_rope_theta is None, expected a number"),
        ({"norm_eps": "small"}, "norm_eps is 'small', expected a number"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling is .*knows none"),
    ],
)
def test_a_variant_that_the_graph_does_not_know_is_an_error(
    source: checkpoint.Checkpoint, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        Settings.of(source.config | changes)


def test_a_weight_that_would_be_left_out_or_is_missing_is_an_error(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _modernbert.modernbert(tmp_path, num_hidden_layers=1)
    path = folder / checkpoint.WEIGHTS
    weights = load_file(path)
    save_file(weights | {"model.layers.0.adapter.weight": torch.ones(4, 4)}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights that ModernBERT has not: model.layers.0.adapter.weight"):
        build(checkpoint.read(folder))
    del weights["head.dense.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"the weights have no tensor 'head.dense.weight'"):
        build(checkpoint.read(folder))


def test_only_a_sequence_classifier_is_taken(tmp_path: Path) -> None:
    folder = _modernbert.modernbert(tmp_path, num_hidden_layers=1)
    _checkpoints.edit_config(folder, architectures=["ModernBertForMaskedLM"])
    with pytest.raises(CheckpointError, match="expected ModernBertForSequenceClassification"):
        checkpoint.read(folder)
