"""A checkpoint's table of n-grams: read with care, added to the logit exactly as it was trained, in any batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

pytestmark = pytest.mark.export

pytest.importorskip("torch")

import _checkpoints

import demur
from demur._session import INPUT, MASK, OUTPUT
from demur.errors import CheckpointError
from demur_export import checkpoint, ngrams
from demur_export.graph.builder import Builder
from demur_export.graph.masked import masked
from demur_export.graph.ngrams import attach
from demur_export.ngrams import FILE, Ngrams, places
from demur_export.options import Options
from demur_export.pipeline import export
from demur_export.reference import torch_logits

TAG, BUCKETS = 7, 997


def table(buckets: int = BUCKETS, after: int = TAG) -> Ngrams:
    weights = np.random.default_rng(3).integers(-127, 128, buckets + 1).astype(np.int8)
    weights[0] = 0
    return Ngrams(weights, 0.013, after)


def graph() -> onnx.ModelProto:
    """A graph whose own logits are all 0, with the table attached to the second."""
    b = Builder()
    rows = b.add("Shape", "rows", [INPUT], end=1)
    b.add("ConstantOfShape", OUTPUT, [b.add("Concat", "shape", [rows, b.integers(2)], axis=0)])
    model = attach(b.model(2, 512), table(), refusal=1)
    onnx.checker.check_model(model)
    return model


@pytest.fixture(scope="module")
def run() -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(graph().SerializeToString())
    return lambda ids: np.asarray(session.run(None, {INPUT: ids})[0])


@pytest.fixture(scope="module")
def run_padded() -> Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(masked(graph(), ids=INPUT).SerializeToString())
    return lambda ids, mask: np.asarray(session.run(None, {INPUT: ids, MASK: mask})[0])


def expected(ids: list[int]) -> float:
    """The definition, n-gram by n-gram."""
    one = table()
    if TAG not in ids:
        return 0.0
    reply = ids[len(ids) - ids[::-1].index(TAG) : -1]
    grams = {tuple(reply[i : i + n]) for n in (1, 2, 3) for i in range(len(reply) - n + 1)}
    found = {
        (sum(t * f for t, f in zip(gram, ngrams.FACTORS, strict=False)) + ngrams.OFFSETS[len(gram) - 1]) % BUCKETS + 1
        for gram in grams
    }
    return sum(int(one.weights[i]) for i in found) * one.scale / max(1, len(found)) ** 0.5


@given(
    st.lists(st.lists(st.integers(0, 12) | st.integers(0, 250_000), min_size=12, max_size=12), min_size=1, max_size=4)
)
def test_the_graph_adds_what_the_definition_says(
    run: Callable[[NDArray[np.int64]], NDArray[np.float32]], rows: list[list[int]]
) -> None:
    found = run(np.array(rows))
    assert not found[:, 0].any()
    np.testing.assert_allclose(found[:, 1], [expected(ids) for ids in rows], rtol=1e-6, atol=1e-6)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_a_text_of_any_length_scores_alone_as_in_a_batch_and_as_in_numpy(
    run: Callable[[NDArray[np.int64]], NDArray[np.float32]], ids: list[int]
) -> None:
    alone = run(np.array([ids]))[0, 1]
    assert alone == run(np.array([ids[::-1], ids]))[1, 1] == np.float32(table().score(np.array(ids)))


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=30), min_size=1, max_size=5), st.integers(0, 12))
def test_padding_adds_no_n_grams(
    run_padded: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]],
    texts: list[list[int]],
    padding: int,
) -> None:
    longest = max(map(len, texts))
    mask = np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in texts])
    # Where the role tag itself pads, the last one is no longer a reply's: tokenizers pad with a token of its own.
    padding = padding if padding != TAG else 0
    found = run_padded(np.array([ids + [padding] * (longest - len(ids)) for ids in texts]), mask)
    assert list(found[:, 1]) == [np.float32(table().score(np.array(ids))) for ids in texts]


def test_a_repeated_phrase_counts_once_and_the_prompt_never() -> None:
    reply = [20, 21, 22, 23]
    one = places(np.array([0, TAG, *reply, 1]), TAG, BUCKETS)
    assert len(one) == 4 + 3 + 2
    assert set(places(np.array([0, 50, 51, TAG, *reply, *reply, 1]), TAG, BUCKETS)) > set(one)
    assert list(places(np.array([0, 50, 51, 52, TAG, *reply, 1]), TAG, BUCKETS)) == list(one)
    assert list(places(np.array([0, TAG, 50, 51, TAG, *reply, 1]), TAG, BUCKETS)) == list(one)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    folder = _checkpoints.bert(tmp_path_factory.mktemp("source"), outliers=1.0)
    tag = demur._tokenizer.Tokenizer(folder / "tokenizer.json").added["<|assistant|>"]
    table(after=tag).save(folder)
    return checkpoint.read(folder)


def test_a_table_saved_is_the_table_read(source: checkpoint.Checkpoint) -> None:
    found = ngrams.read(source.folder)
    assert found is not None
    assert found.weights.tobytes() == table().weights.tobytes()
    assert np.float32(found.scale) == np.float32(0.013)


@pytest.mark.parametrize(("recipe", "atol"), [("fp32", 1e-5), ("fp16", 1e-2), ("int8-row", 0.1)])
def test_a_checkpoint_with_a_table_becomes_a_bundle_that_adds_it(
    source: checkpoint.Checkpoint, tmp_path: Path, recipe: str, atol: float
) -> None:
    export(Options(source.folder, tmp_path / "bundle", recipe=recipe, template="agentlans", accept=True))
    model = demur.load(tmp_path / "bundle")
    rows = ["the answer is that", "sorry, the the the", "cannot help you with that, sorry"]
    ids = [np.array([model.encode(row)]) for row in rows]
    found = np.array([model.judge_row(row).logits for row in rows])
    np.testing.assert_allclose(found, torch_logits(source, ids), atol=atol)
    (source.folder / FILE).rename(tmp_path / FILE)
    try:
        without = torch_logits(source, ids)
    finally:
        (tmp_path / FILE).rename(source.folder / FILE)
    assert (np.abs(found - without)[:, source.refusal] > atol).all()
    np.testing.assert_allclose(found[:, 1 - source.refusal], without[:, 1 - source.refusal], atol=atol)


def test_its_vocabulary_can_not_be_pruned(source: checkpoint.Checkpoint, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "the answer"}\n' * 16)
    with pytest.raises(CheckpointError, match=r"ngrams.safetensors: .* leave out --vocabulary"):
        export(Options(source.folder, tmp_path / "bundle", vocabulary=texts))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda one: one._replace(weights=one.weights.astype(np.int16)), "weights is int16 of shape .*expected int8"),
        (lambda one: one._replace(weights=one.weights[:1]), "1 weights that begin with 0"),
        (lambda one: one._replace(weights=one.weights | 1), "begin with 1 .*expected at least 2 that begin with 0"),
        (lambda one: one._replace(scale=float("nan")), "a scale of nan; expected .* a finite scale"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, damage: Callable[[Ngrams], Ngrams], message: str) -> None:
    damage(table()).save(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        ngrams.read(tmp_path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    assert ngrams.read(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"not a table")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        ngrams.read(tmp_path)
