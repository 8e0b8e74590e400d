"""The folder that other clients read, by the clients themselves: optimum, and transformers.js in Node."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from conftest import CORPUS_SIZE
from optimum.onnxruntime import ORTModelForSequenceClassification
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from demur_export import checkpoint, cli
from demur_export.interop import files
from demur_export.options import Options
from demur_export.pipeline import export

JS = Path(__file__).parent / "js"
MODEL, QUANTISED = "onnx/model.onnx", "onnx/model_quantized.onnx"
KINDS: dict[str, Callable[..., Path]] = {
    "bert": _checkpoints.bert,
    "roberta": _checkpoints.roberta,
    "e5": _checkpoints.e5,
    "modernbert": _modernbert.modernbert,
}
# Conversations of lengths far apart, so that a batch of them is mostly padding.
REPLIES = ["sorry", "the answer is that you can help " * 8, "I cannot help with that.", "caf\u00e9, 3.14 & more? " * 4]
TEXTS = [f"<|user|>are you there?<|assistant|>{reply}" for reply in REPLIES]
# Of a probability: rounding in fp32, and what int8 moves on these checkpoints, whose scores differ by hundredths.
TOLERANCE = {MODEL: 1e-4, QUANTISED: 0.02}
# An int8 bundle's own scores are nearer still, as its weights are those of the quantised graph.
NEAR = 0.003


def mild(kind: str, folder: Path) -> Path:
    """Write a checkpoint that any gate lets pass in int8: scores near each other, and none of them near a half."""
    return head(KINDS[kind](folder), times=0.25, surer=0.5)


def head(folder: Path, *, times: float = 1.0, surer: float = 0.0) -> Path:
    """Make a classifier's logits larger, and its scores of refusal, which are above a half, larger still."""
    weights = load_file(folder / "model.safetensors")
    last = "classifier.out_proj" if "classifier.out_proj.weight" in weights else "classifier"
    for part in ("weight", "bias"):
        weights[f"{last}.{part}"] *= times
    weights[f"{last}.bias"] += torch.tensor([-surer, surer])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint's folder and that of its bundle."""
    folder = tmp_path_factory.mktemp("made")
    source = mild(request.param, folder / "source")
    export(Options(source, folder / "out", template="agentlans", recipe="int8-row", accept=True, interop=True))
    return source, folder / "out"


def _by_pytorch(source: Path, tokenizer: Path) -> NDArray[np.float32]:
    """Probabilities `[texts, labels]`, each text alone."""
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    read = AutoTokenizer.from_pretrained(tokenizer)
    with torch.inference_mode():
        logits = [model(**read(text, return_tensors="pt", truncation=True)).logits for text in TEXTS]
    found: NDArray[np.float32] = torch.cat(logits).softmax(1).numpy()
    return found


def _by_optimum(folder: Path, file: str) -> NDArray[np.float32]:
    model = ORTModelForSequenceClassification.from_pretrained(folder, file_name=Path(file).name)
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors="pt", padding=True, truncation=True)
    assert batch.attention_mask.min() == 0
    found: NDArray[np.float32] = model(**batch).logits.softmax(1).numpy()
    return found


def _by_transformers_js(folder: Path, dtype: str, where: str) -> NDArray[np.float32]:
    command = ["node", str(JS / "score.mjs"), str(folder), dtype, where]
    run = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return np.array(json.loads(run.stdout), np.float32)


def _close(found: NDArray[np.float32], made: tuple[Path, Path], file: str) -> None:
    source, bundle = made
    assert np.abs(found - _by_pytorch(source, source)).max() <= TOLERANCE[file]
    model = demur.load(bundle, threads=1)
    if file == QUANTISED and "int8" in repr(model):
        own = [model.check_text(text).score for text in TEXTS]
        assert found[:, 1] == pytest.approx(own, abs=NEAR)


@pytest.mark.parametrize("file", [MODEL, QUANTISED])
def test_optimum_gives_padded_batches_pytorchs_scores(made: tuple[Path, Path], file: str) -> None:
    _close(_by_optimum(made[1] / "interop", file), made, file)


def test_it_reads_texts_as_the_checkpoint_does(made: tuple[Path, Path]) -> None:
    source, bundle = made
    own, given = (AutoTokenizer.from_pretrained(folder) for folder in (source, bundle / "interop"))
    assert given(TEXTS, padding=True).input_ids == own(TEXTS, padding=True).input_ids
    assert given.model_max_length == demur.load(bundle).max_tokens


needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (JS / "node_modules" / "@huggingface" / "transformers").is_dir(),
    reason="transformers.js is not here; install Node and run: "
    "npm install --prefix tests/js --ignore-scripts --no-package-lock",
)


@needs_node
@pytest.mark.parametrize("where", ["cpu", "wasm"])
@pytest.mark.parametrize(("dtype", "file"), [("fp32", MODEL), ("q8", QUANTISED)])
def test_transformers_js_gives_padded_batches_pytorchs_scores(
    made: tuple[Path, Path], dtype: str, file: str, where: str
) -> None:
    _close(_by_transformers_js(made[1] / "interop", dtype, where), made, file)


def test_the_folder_has_what_clients_look_for_and_the_bundle_loads(made: tuple[Path, Path]) -> None:
    _, bundle = made
    folder = bundle / "interop"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert found == {"README.md", "config.json", MODEL, QUANTISED, *tokenizer}
    assert 0 <= demur.load(bundle).check("sorry").score <= 1


def test_how_far_each_graph_is_from_pytorch_is_recorded(made: tuple[Path, Path]) -> None:
    _, bundle = made
    record = json.loads((bundle / "demur.json").read_text())["exported"]["interop"]
    assert {file: of["recipe"] for file, of in record.items()} == {MODEL: "fp32", QUANTISED: "int8-row"}
    readme = (bundle / "interop" / "README.md").read_text()
    for of in record.values():
        assert of["parity"]["texts"] == CORPUS_SIZE // 2
        assert f"| {CORPUS_SIZE // 2} | {of['parity']['label_flips']} | {of['parity']['max_dp']:.4f} |" in readme
    assert record[MODEL]["parity"]["max_dp"] < 1e-4 < record[QUANTISED]["parity"]["max_dp"]
    assert "| other clients | the folder [interop](interop/README.md)" in (bundle / "README.md").read_text()


def test_the_command_adds_it_only_when_asked(tmp_path: Path) -> None:
    source = mild("bert", tmp_path / "source")
    command = [str(source), "--out", str(tmp_path / "out"), "--recipe", "fp32", "--accept"]
    assert cli.main(command) == 0
    assert not (tmp_path / "out" / "interop").exists()
    assert cli.main([*command, "--interop"]) == 0
    # A bundle that is not quantised has a quantised graph made for the folder.
    record = json.loads((tmp_path / "out" / "demur.json").read_text())["exported"]["interop"]
    assert record[QUANTISED]["recipe"] == "int8-row"
    found = _by_optimum(tmp_path / "out" / "interop", QUANTISED)
    assert np.abs(found - _by_pytorch(source, source)).max() <= TOLERANCE[QUANTISED]


def test_a_quantised_graph_that_falls_short_is_left_out_with_the_reason(tmp_path: Path) -> None:
    source = _checkpoints.e5(tmp_path / "source", outliers=300.0)
    said: list[str] = []
    export(Options(source, tmp_path / "out", recipe="fp32", interop=True), said.append)
    folder = tmp_path / "out" / "interop"
    record = json.loads((tmp_path / "out" / "demur.json").read_text())["exported"]["interop"]
    assert "falls short" in record[QUANTISED]["left out"]
    assert not (folder / QUANTISED).exists()
    assert any(line.startswith(f"interop/{QUANTISED} is left out: recipe int8-row falls short") for line in said)
    readme = (folder / "README.md").read_text()
    assert f"`{QUANTISED}` is left out: recipe int8-row falls short" in readme
    assert 'dtype: "fp32"' in readme
    assert (folder / MODEL).is_file()


def test_a_pruned_vocabulary_is_that_of_the_folder_too(tmp_path: Path) -> None:
    source, used = mild("e5", tmp_path / "source"), tmp_path / "used.jsonl"
    used.write_text("".join(json.dumps({"prompt": "are you there?", "response": r}) + "\n" for r in REPLIES * 5))
    options = Options(source, tmp_path / "out", recipe="fp32", texts=used, vocabulary=used, interop=True, accept=True)
    export(options)
    folder = tmp_path / "out" / "interop"
    tokenizer, config = AutoTokenizer.from_pretrained(folder), json.loads((folder / "config.json").read_text())
    assert len(tokenizer) == config["vocab_size"] < len(AutoTokenizer.from_pretrained(source))
    for file in (MODEL, QUANTISED):
        _close(_by_optimum(folder, file), (source, tmp_path / "out"), file)


def _files(folder: Path) -> dict[str, Any]:
    """Write the files of a checkpoint that other clients read, and return its tokenizer_config.json."""
    source = checkpoint.read(folder)
    out = folder.parent / "files"
    out.mkdir()
    files.write(out, source, source.tokenizer, None)
    read: dict[str, Any] = json.loads((out / "tokenizer_config.json").read_text())
    assert AutoTokenizer.from_pretrained(out)(["a", "the answer"], padding=True).attention_mask[0][-1] == 0
    return read


def _edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_checkpoint_without_a_tokenizer_configuration_gets_one(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (source / name).unlink()
    found = _files(source)
    assert (found["tokenizer_class"], found["model_max_length"]) == ("PreTrainedTokenizerFast", 128)
    assert json.loads((tmp_path / "files" / "special_tokens_map.json").read_text()) == {"pad_token": "[PAD]"}


def test_a_tokenizer_class_of_transformers_5_becomes_one_that_4_has(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    _edit(
        source / "tokenizer_config.json", tokenizer_class="TokenizersBackend", auto_map={"AutoTokenizer": ["x.Y", None]}
    )
    found = _files(source)
    assert found["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "auto_map" not in found


def test_a_padding_token_that_is_none_is_refused(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    _edit(source / "tokenizer_config.json", pad_token="<nothing>")
    with pytest.raises(CheckpointError, match=r"pad_token is '<nothing>', which tokenizer.json has no entry for"):
        _files(source)


def test_without_any_padding_token_the_way_out_is_named(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    text = (source / "tokenizer.json").read_text()
    (source / "tokenizer.json").write_text(text.replace("[PAD]", "[GAP]"))
    (source / "tokenizer_config.json").write_text("{}")
    (source / "special_tokens_map.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"names no pad_token.*add pad_token there, or leave out --interop"):
        _files(source)
