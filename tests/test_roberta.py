"""RoBERTa, and BERT with XLM-R's tokenizer, go the same way as BERT: what PyTorch computes, and what users get."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import demur
from demur._tokenizer import Tokenizer
from demur.errors import CheckpointError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")

import _checkpoints

from demur_export import checkpoint, convert, corpus, quantize
from demur_export.graph import bert
from demur_export.options import Options
from demur_export.pipeline import export
from demur_export.reference import torch_logits
from demur_export.run import logits

LAYERS = 2
PRODUCTS = 6 * LAYERS + 1  # query, key, value, out, up, down, and the pooler
# With seed 0 this e5 has outliers at which `int8-row` falls short, as the gate then says.
KINDS = {"roberta": _checkpoints.roberta, "e5": partial(_checkpoints.e5, seed=1)}


@pytest.fixture(scope="module", params=list(KINDS))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Checkpoint:
    return checkpoint.read(KINDS[request.param](tmp_path_factory.mktemp(request.param), layers=LAYERS))


@pytest.fixture(scope="module")
def exported(source: checkpoint.Checkpoint) -> onnx.ModelProto:
    return convert.to_onnx(source)


@pytest.fixture(scope="module")
def tuned(source: checkpoint.Checkpoint, exported: onnx.ModelProto) -> onnx.ModelProto:
    return bert.build(exported, source.config)


def texts(lengths: list[int], seed: int = 0) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 500, (1, n)).astype(np.int64) for n in lengths]


@pytest.fixture(scope="module")
def calibration() -> list[NDArray[np.int64]]:
    return texts([4, 9, 16, 25, 40, 60, 80, 128] * 3 + [512])


@pytest.mark.parametrize("n", [1, 2, 63, 64, 511, 512])
def test_the_graph_computes_what_pytorch_computes(
    source: checkpoint.Checkpoint, tuned: onnx.ModelProto, n: int
) -> None:
    ids = texts([n])
    assert logits(tuned, ids) == pytest.approx(torch_logits(source, ids), abs=2e-4)


def test_texts_are_read_up_to_512_tokens(source: checkpoint.Checkpoint, tuned: onnx.ModelProto) -> None:
    assert source.max_tokens == 512
    assert {p.key: p.value for p in tuned.metadata_props}["max_tokens"] == "512"
    (positions,) = (t for t in tuned.graph.initializer if t.name == "embeddings.positions")
    assert positions.dims[0] == 512


def test_tokens_are_those_of_transformers(source: checkpoint.Checkpoint) -> None:
    from transformers import AutoTokenizer

    ours, theirs = Tokenizer(source.tokenizer), AutoTokenizer.from_pretrained(source.folder)
    odd = [
        "",
        " ",
        "  two  spaces ",
        "\n\nline\n",
        "e\u0301 \u00e9 \ufb01 \uff21",
        "\U0001f469\u200d\U0001f4bb \u4e2d\u6587",
        "a <mask> b",
    ]
    for text in [*_checkpoints.corpus_texts(), *odd]:
        assert ours.encode(text) == theirs(text).input_ids
    assert ours.encode("a")[0] == 0
    assert ours.encode("a")[-1] == 2


@pytest.mark.parametrize("recipe", ["int8", "int8-row"])
def test_every_product_is_quantised(tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]], recipe: str) -> None:
    made = quantize.RECIPES[recipe](tuned, calibration)
    assert made.products == PRODUCTS
    assert not any(node.op_type == "MatMul" for node in made.model.graph.node)


def test_rows_have_the_same_bits_in_any_batch(tuned: onnx.ModelProto, calibration: list[NDArray[np.int64]]) -> None:
    model, ids = quantize.int8_row(tuned, calibration).model, texts([48] * 6, seed=2)
    assert logits(model, [np.concatenate(ids)]).tobytes() == logits(model, ids).tobytes()
    assert logits(model, [np.concatenate(ids[::-1])]).tobytes() == logits(model, ids[::-1]).tobytes()


def test_a_checkpoint_becomes_a_bundle_that_classifies(source: checkpoint.Checkpoint, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    template = "response-only" if source.architecture == "roberta" else None
    found = export(Options(source.folder, tmp_path / "out", template=template))
    assert found.texts == len(corpus.read(corpus.OWN)) // 2
    model = demur.load(tmp_path / "out")
    raw = json.loads((tmp_path / "out" / "demur.json").read_text())
    assert (raw["architecture"], raw["max_tokens"]) == (source.architecture, 512)
    text = "I'm sorry, but I can't help with that." if template else "<|user|>why?<|assistant|>I'm sorry, no."
    ids = AutoTokenizer.from_pretrained(source.folder)(text).input_ids
    assert model.encode(text if template else {"text": text}) == ids
    verdict = model.judge_row(text if template else {"text": text})
    reference = torch_logits(source, [np.array([ids])])[0]
    assert verdict.score == pytest.approx(1 / (1 + np.exp(reference[0] - reference[1])), abs=0.1)
    assert verdict.label in source.labels
    long = model.check("word " * 2000)
    assert 500 < long.tokens <= 512
    assert long.elided > 0


def test_what_differs_between_checkpoints_is_read_from_them(tmp_path: Path) -> None:
    folder = _checkpoints.roberta(tmp_path, layers=1)
    _checkpoints.edit_config(folder, pad_token_id=3, layer_norm_eps=0.1)
    odd = checkpoint.read(folder)
    assert odd.max_tokens == 510
    ids = texts([1, 64, 510])
    assert logits(bert.build(convert.to_onnx(odd), odd.config), ids) == pytest.approx(torch_logits(odd, ids), abs=2e-4)


def test_positions_that_begin_nowhere_are_an_error(tmp_path: Path) -> None:
    folder = _checkpoints.roberta(tmp_path, layers=1)
    _checkpoints.edit_config(folder, pad_token_id=None)
    with pytest.raises(CheckpointError, match=r"pad_token_id is None.*roberta counts positions from it"):
        checkpoint.read(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "gelu_new", "hidden_act is 'gelu_new'.* knows 'gelu'"),
        ("is_decoder", True, "is_decoder is True.* knows False"),
        ("pruned_heads", {"0": [1]}, "pruned_heads is .*0.* knows {}"),
        ("layer_norm_eps", None, "layer_norm_eps is None; expected a number above 0"),
        ("num_attention_heads", 0, "num_attention_heads is 0; expected a number above 0"),
        ("num_attention_heads", 5, "hidden_size is 64, expected a multiple of num_attention_heads, which is 5"),
    ],
)
def test_a_variant_that_the_graph_does_not_know_is_an_error(
    source: checkpoint.Checkpoint, exported: onnx.ModelProto, key: str, value: object, message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        bert.build(exported, source.config | {key: value})
