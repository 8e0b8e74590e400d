"""The graph behind standard inputs computes what PyTorch computes, and padding changes nothing."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
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

import _checkpoints
import _modernbert
from transformers import AutoModelForSequenceClassification

from demur._session import MASK
from demur_export import checkpoint, quantize
from demur_export.graph.masked import IDS, TYPES, masked
from demur_export.graph.parameters import Parameters
from demur_export.pipeline import BUILDERS

Feed = dict[str, NDArray[np.int64]]
KINDS: dict[str, Callable[[Path], Path]] = {
    "bert": _checkpoints.bert,
    "roberta": _checkpoints.roberta,
    "e5": _checkpoints.e5,
    "modernbert": _modernbert.modernbert,
    # The last layer is a local one, and is computed for the first token alone.
    "modernbert by its first token": lambda folder: _modernbert.modernbert(
        folder, classifier_pooling="cls", num_hidden_layers=3
    ),
}
# Real tokens of each row; none but the longest fills its row. The window of ModernBERT's local layers is 8 to a side.
LENGTHS = [5, 128, 17, 66, 100]


@cache
def _source(kind: str) -> checkpoint.Checkpoint:
    return checkpoint.read(KINDS[kind](Path(mkdtemp()) / "checkpoint"))


@cache
def _graph(kind: str) -> onnx.ModelProto:
    source = _source(kind)
    return BUILDERS[source.architecture](source)


def _types(kind: str) -> NDArray[np.float32] | None:
    weights = Parameters(checkpoint.weights(_source(kind).folder))
    return weights.optional("bert.embeddings.token_type_embeddings.weight")


@cache
def _session(kind: str, quantised: bool) -> ort.InferenceSession:
    graph = _graph(kind)
    if quantised:
        graph = quantize.int8_row(
            graph, [ids[:, :n] for ids, n in zip(np.split(_ids(kind), 5), LENGTHS, strict=True)]
        ).model
    made = masked(graph, _types(kind))
    onnx.checker.check_model(made)
    return _open(made)


def _open(graph: onnx.ModelProto) -> ort.InferenceSession:
    """Open a graph with onnxruntime's own defaults, but for the threads, of which so small a graph needs one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph.SerializeToString(), options)


def _ids(kind: str) -> NDArray[np.int64]:
    entries = _source(kind).config["vocab_size"]
    return np.random.default_rng(0).integers(6, entries, (len(LENGTHS), max(LENGTHS)), np.int64)


def _feed(kind: str, padding: int) -> Feed:
    mask = (np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]).astype(np.int64)
    feed = {IDS: np.where(mask == 1, _ids(kind), padding), MASK: mask}
    if _types(kind) is not None:
        feed[TYPES] = np.random.default_rng(1).integers(0, 2, mask.shape, np.int64)
    return feed


def _logits(session: ort.InferenceSession, feed: Feed) -> NDArray[np.float32]:
    found: NDArray[np.float32] = session.run(["logits"], feed)[0]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_gets_pytorchs_logits(kind: str) -> None:
    source = _source(kind)
    feed = _feed(kind, source.config["pad_token_id"])
    settings: dict[str, Any] = {"reference_compile": False} if source.architecture == "modernbert" else {}
    model = AutoModelForSequenceClassification.from_pretrained(source.folder, **settings).eval()
    with torch.inference_mode():
        reference = model(**{name: torch.from_numpy(value) for name, value in feed.items()}).logits.numpy()
    assert _logits(_session(kind, False), feed) == pytest.approx(reference, abs=2e-4 * float(np.abs(reference).max()))


@pytest.mark.parametrize("kind", ["bert", "modernbert", "modernbert by its first token"])
@pytest.mark.parametrize("quantised", [False, True])
def test_what_stands_behind_a_text_is_never_read(kind: str, quantised: bool) -> None:
    session = _session(kind, quantised)
    assert _logits(session, _feed(kind, 0)).tobytes() == _logits(session, _feed(kind, 7)).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_quantised_graph_gives_a_padded_text_what_demurs_gives_it_alone(kind: str) -> None:
    feed = _feed(kind, 0)
    feed |= {TYPES: np.zeros_like(feed[MASK])} if TYPES in feed else {}
    texts = [ids[:n][None] for ids, n in zip(_ids(kind), LENGTHS, strict=True)]
    quantised = quantize.int8_row(_graph(kind), texts).model
    alone = _open(quantised)
    expected = np.concatenate([alone.run(["logits"], {"token_ids": ids})[0] for ids in texts])
    assert _logits(_session(kind, True), feed) == pytest.approx(expected, abs=5e-3 * float(np.abs(expected).max()))


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), more=st.integers(0, 12))
@settings(max_examples=15)
def test_any_lengths_and_any_padding_give_each_text_its_own_logits(lengths: list[int], more: int) -> None:
    session, width = _session("modernbert", False), max(lengths) + more
    ids = _ids("modernbert")[:1, :width].repeat(len(lengths), 0)
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.int64)
    found = _logits(session, {IDS: ids, MASK: mask})
    for row, n in zip(found, lengths, strict=True):
        alone = _logits(session, {IDS: ids[:1, :n], MASK: np.ones((1, n), np.int64)})[0]
        assert row == pytest.approx(alone, abs=2e-4 * float(np.abs(alone).max()))
