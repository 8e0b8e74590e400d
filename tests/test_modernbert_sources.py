"""Which checkpoints of ModernBERT become bundles, and which are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

import demur
from demur.errors import CheckpointError

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
torch = pytest.importorskip("torch")

import _checkpoints
import _modernbert
import _modernbert_graphs
from _modernbert_graphs import LAYERS, PRODUCTS, assert_equal, build, read, texts

from demur_export import checkpoint
from demur_export.graph.modernbert_config import Settings
from demur_export.pipeline import Options, export
from demur_export.reference import torch_logits
from demur_export.run import logits

make, source = _modernbert_graphs.make, _modernbert_graphs.source


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
