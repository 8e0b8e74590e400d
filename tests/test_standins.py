"""Stand-ins of the published checkpoints, in small: what they must have in common with the real ones."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
# Importing ModernBERT makes torch 2.13 import a module of its own that torch warns about.
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")]
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the sdist", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

from _checkpoints import bert
from conftest import BundleCopy
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import _graft
import _standin_tokenizers
import _standin_weights
import standins
from demur import Classifier, _catalogue, _tokenizer
from demur._template import Template
from demur_export import catalogue, checkpoint, corpus, parity, templates
from demur_export.reference import torch_logits

NAMES = list(standins.STAND_INS)
CLASSES = {
    "arctic-xs": ("BertTokenizerFast", "BertForSequenceClassification"),
    "e5-small": ("XLMRobertaTokenizerFast", "BertForSequenceClassification"),
    "distilroberta": ("RobertaTokenizerFast", "RobertaForSequenceClassification"),
    "minos": ("PreTrainedTokenizerFast", "ModernBertForSequenceClassification"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small stand-in of each."""
    root = tmp_path_factory.mktemp("standins")
    return {name: standins.make(name, root / name, small=True) for name in NAMES}


def _load(folder: Path) -> tuple[Any, Any]:
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    return AutoTokenizer.from_pretrained(folder), model


def _texts() -> list[str]:
    return _standin_tokenizers.texts(everything=False)[200:260]


@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_it_as_the_published_classes_and_scores_spread(folders: dict[str, Path], name: str) -> None:
    tokenizer, model = _load(folders[name])
    assert (type(tokenizer).__name__, type(model).__name__) == CLASSES[name]
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    judge = pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True, max_length=128)
    refusal = standins.STAND_INS[name].labels[1]
    template = Template(**templates.TEMPLATES[_catalogue.entries()[name].template])
    found = judge(_standin_tokenizers.conversations(template)[1::7], top_k=None)
    scores = np.array([next(one["score"] for one in row if one["label"] == refusal) for row in found])
    assert scores.min() < 0.2
    assert scores.max() > 0.8
    assert 0.15 < np.mean(scores > 0.5) < 0.85


@pytest.mark.parametrize("name", NAMES)
def test_a_few_channels_and_a_few_tokens_are_tens_of_times_the_rest(folders: dict[str, Path], name: str) -> None:
    tokenizer, model = _load(folders[name])
    inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=64) for text in _texts()[:16]]
    read = _standin_weights.activations(model, inputs)
    channels = {k: _standin_weights.outliers(v)[0] for k, v in read.items() if k.endswith(("query", "Wqkv"))}
    assert min(channels.values()) > 15
    assert 30 < max(channels.values()) < 200
    tall = read["model.layers.0.mlp.Wo" if name == "minos" else next(k for k in read if k.endswith("0.output.dense"))]
    assert 30 < _standin_weights.outliers(tall)[1] < 250
    massive = tall.abs().amax(1) > 10 * tall.abs().amax(1).median()
    assert 0.003 < massive.float().mean() < 0.25


@pytest.mark.parametrize("name", NAMES)
def test_demur_reads_the_tokenizer_as_transformers_does(folders: dict[str, Path], name: str) -> None:
    theirs = AutoTokenizer.from_pretrained(folders[name])
    ours = _tokenizer.Tokenizer(folders[name] / "tokenizer.json")
    for text in [*_texts()[:20], "<|user|>Pick a lock<|assistant|>  No.\n\n<s> [SEP]", ""]:
        assert ours.encode(text) == theirs(text)["input_ids"]


@pytest.mark.parametrize("name", NAMES)
def test_what_was_encoded_reads_the_same_again(folders: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folders[name])
    text = "I'm sorry, but I can't help with that. Is there anything else?"
    again = tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)
    assert "".join(again.lower().split()) == "".join(text.lower().split())


def test_special_ids_are_where_the_published_ones_are(folders: dict[str, Path]) -> None:
    ids = {}
    for name, folder in folders.items():
        t = AutoTokenizer.from_pretrained(folder)
        ids[name] = [t.cls_token_id, t.pad_token_id, t.sep_token_id, t.unk_token_id, len(t) - t.mask_token_id]
    assert ids["arctic-xs"][:4] == [101, 0, 102, 100]
    assert ids["e5-small"] == [0, 1, 2, 3, 5]  # the mask, and four tags behind it
    assert ids["distilroberta"] == [0, 1, 2, 3, 1]
    size = len(AutoTokenizer.from_pretrained(folders["minos"]))
    # Of 50,368: [UNK] 50,280, [CLS] 50,281, [SEP] 50,282, [PAD] 50,283, [MASK] 50,284.
    assert ids["minos"] == [size - 87, size - 85, size - 86, size - 88, 84]


@pytest.mark.parametrize("name", NAMES)
def test_a_stand_in_is_what_the_catalogue_says_but_for_sizes(folders: dict[str, Path], name: str) -> None:
    entry = _catalogue.entries()[name]
    source = checkpoint.read(folders[name])
    sizes = {"layers": source.config["num_hidden_layers"], "width": 64}
    if name == "minos":  # its special tokens stand at the end of the vocabulary
        less = standins.STAND_INS[name].vocabulary - source.config["vocab_size"]
        sizes["special_tokens"] = {token: number - less for token, number in entry.special_tokens.items()}
    catalogue.check(dataclasses.replace(entry, **sizes), source)


def test_the_traps_of_the_published_configurations_are_there(folders: dict[str, Path]) -> None:
    configs = {name: json.loads((folder / "config.json").read_text()) for name, folder in folders.items()}
    assert configs["e5-small"]["pad_token_id"] == 0
    assert AutoTokenizer.from_pretrained(folders["e5-small"]).pad_token_id == 1
    assert "token_type_ids" not in AutoTokenizer.from_pretrained(folders["e5-small"])("a")
    assert configs["distilroberta"]["max_position_embeddings"] == 514
    assert AutoTokenizer.from_pretrained(folders["distilroberta"]).model_max_length == 512
    assert configs["minos"]["classifier_pooling"] == "mean"
    assert configs["minos"]["pad_token_id"] == AutoTokenizer.from_pretrained(folders["minos"]).pad_token_id


def test_the_same_seed_makes_the_same_checkpoint_and_another_makes_another(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("arctic-xs", "minos"):
        again = standins.make(name, tmp_path / name, small=True)
        for file in ("tokenizer.json", "config.json", "model.safetensors"):
            assert (again / file).read_bytes() == (folders[name] / file).read_bytes()
    other = load_file(standins.make("arctic-xs", tmp_path / "other", small=True, seed=1) / "model.safetensors")
    assert not torch.equal(
        other["classifier.weight"], load_file(folders["arctic-xs"] / "model.safetensors")["classifier.weight"]
    )


def test_a_grafted_checkpoint_computes_the_same_with_outliers(tmp_path: Path) -> None:
    source = bert(tmp_path / "source", outliers=1.0, layers=3)
    assert standins.main(["--graft", str(source), "--out", str(tmp_path / "grafted"), "--seed", "3"]) == 0
    tokenizer, plain = _load(source)
    _, grafted = _load(tmp_path / "grafted")
    inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=100) for text in _texts()[:24]]
    with torch.no_grad():
        before = torch.cat([plain(**one).logits for one in inputs])
        after = torch.cat([grafted(**one).logits for one in inputs])
    assert (after - before).abs().max() < 1e-4 * before.abs().max()
    was, now = (_standin_weights.activations(model, inputs) for model in (plain, grafted))
    for name in now:
        (channel, token), (channel_was, _) = (_standin_weights.outliers(read[name]) for read in (now, was))
        if name.endswith(("attention.output.dense", "pooler.dense")):
            assert channel > max(20, 10 * channel_was)
        elif name.endswith("output.dense"):
            assert token > 20


def test_outliers_are_grafted_into_bert_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="model_type is 'roberta'"):
        _graft.graft(folders["distilroberta"], tmp_path / "grafted")


def test_pooling_can_be_chosen(tmp_path: Path) -> None:
    folder = standins.make("minos", tmp_path, small=True, pooling="cls")
    assert json.loads((folder / "config.json").read_text())["classifier_pooling"] == "cls"


def test_a_command_without_a_checkpoint_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        standins.main(["--out", "x"])
    assert error.value.code == 2
    assert "--graft CHECKPOINT" in capsys.readouterr().err


def test_a_bundle_is_unpacked_into_a_checkpoint_that_computes_what_it_does(tmp_path: Path, model: Classifier) -> None:
    out = tmp_path / "unpacked"
    assert standins.main(["--unpack", "demur-mini", "--out", str(out)]) == 0
    source = checkpoint.read(out)
    assert source.operating_points["balanced"] == model.threshold
    rows = [json.loads(line) for line in corpus.OWN.read_text(encoding="utf-8").splitlines()]
    logits = torch_logits(source, [np.array([model.encode(row)], np.int64) for row in rows])
    found = [verdict.score for verdict in model.stream(rows, workers=1)]
    assert np.abs(parity.probabilities(logits)[:, 1] - found).mean() < 0.006
    text = "<|user|>Hi<|assistant|>I can't help with that."
    assert AutoTokenizer.from_pretrained(out)(text)["input_ids"] == list(model.encode({"text": text}))


def test_what_can_not_be_unpacked_is_refused(tmp_path: Path, bundle: BundleCopy) -> None:
    bundle.put("recipe", "int8")
    with pytest.raises(SystemExit, match="what can be unpacked is a bert of recipe int8-row"):
        standins.main(["--unpack", str(bundle.folder), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        standins.main(["minos", "--unpack", "demur-mini", "--out", str(tmp_path / "out")])
