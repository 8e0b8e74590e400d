"""ModernBERT's graph computes what PyTorch computes and sees exactly its window."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")


import _modernbert_graphs
from _modernbert_graphs import VARIANTS, Make, assert_equal, build, read, texts

from demur_export import checkpoint
from demur_export.graph.editor import Editor
from demur_export.reference import torch_logits
from demur_export.run import logits

make, source, tuned = _modernbert_graphs.make, _modernbert_graphs.source, _modernbert_graphs.tuned
# Where blocks of 64 queries begin and end, and where their keys do.
EDGES = [1, 2, 63, 64, 65, 127, 128, 129, 192, 193, 1000]


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
    made = session(model, "layer.1.mlp.sum")
    states: NDArray[np.float32] = made.run(["layer.1.mlp.sum"], {"token_ids": ids})[0]
    return states


def session(model: onnx.ModelProto, inner: str) -> ort.InferenceSession:
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
    made = session(tuned, "window.band")
    shapes = [made.run(["window.band"], {"token_ids": texts([n])[0]})[0].shape for n in (20, 64, 65, 640)]
    assert shapes == [(1, 20, 20), (1, 64, 64), (2, 33, 49), (10, 64, 80)]


@pytest.mark.parametrize("variant", ["mean", "cls"])
@pytest.mark.parametrize("n", [33, 129])
def test_rows_of_a_batch_are_computed_alone(make: Make, variant: str, n: int) -> None:
    _, tuned = make(**VARIANTS[variant])
    ids = texts([n] * 5)
    assert_equal(logits(tuned, [np.concatenate(ids)]), logits(tuned, ids))
