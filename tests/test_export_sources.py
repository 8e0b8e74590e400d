"""What an export is given: texts, templates, checkpoints; and what is refused of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import demur
from demur.errors import CheckpointError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

import _checkpoints
import _exports
from _exports import OWN, warnings_of_others

from demur_export import checkpoint, cli
from demur_export.options import Options
from demur_export.pipeline import export

source = _exports.source


@warnings_of_others
def test_the_users_texts_are_added_to_demurs_own(source: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"prompt": "why", "response": f"the answer is {i}"}) + "\n" for i in range(20)))
    assert export(Options(source, tmp_path / "out", texts=texts, recipe="fp32")).texts == OWN // 2 + 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}\n", "line 1: unknown shape"),
        ("nonsense\n", "line 1: Expecting"),
        ("\n", "0 conversations; .* at least 1 "),
    ],
)
def test_bad_texts_are_named_by_line(source: Path, tmp_path: Path, content: str, message: str) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        export(Options(source, tmp_path / "out", texts=texts))


def test_a_checkpoint_without_role_tags_needs_a_template(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", tags=False)
    with pytest.raises(CheckpointError, match=r"no role tags.*--template agentlans\|minos\|response-only\|FILE"):
        export(Options(source, tmp_path / "out"))


@warnings_of_others
def test_a_template_can_be_named_or_given_as_a_file(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", tags=False)
    export(Options(source, tmp_path / "bare", template="response-only", recipe="fp32"))
    bare = demur.load(tmp_path / "bare")
    assert bare.check("the answer", prompt="any").logits == bare.check("the answer").logits
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"roles": {"user": "q: ", "assistant": "a: "}, "separator": " ", "ellipsis": "..."}))
    export(Options(source, tmp_path / "own", template=str(own), recipe="fp32"))
    model = demur.load(tmp_path / "own")
    assert model.check("yes", prompt="no").logits == model.check_text("q: no a: yes").logits


def test_a_broken_template_file_is_explained(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text('{"roles": {"robot": ""}, "separator": "", "ellipsis": "..."}')
    with pytest.raises(CheckpointError, match=r"roles .among system, user, assistant., separator and ellipsis"):
        export(Options(source, tmp_path / "out", template=str(own)))


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _broken_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_weights, r"holds only pytorch_model.bin, which can run code.*safe_serialization"),
        (_broken_weights, "not a safetensors file"),
        (lambda f: (f / "tokenizer.json").unlink(), r"tokenizer.json: no such file.*save_pretrained"),
        (lambda f: (f / "config.json").unlink(), r"config.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), r"config.json: not JSON"),
        (lambda f: _checkpoints.edit_config(f, model_type="t5"), "model_type is 't5'; demur exports bert"),
        (lambda f: _checkpoints.edit_config(f, architectures=["BertModel"]), "is no sequence classifier"),
        (lambda f: _checkpoints.edit_config(f, id2label={"0": "good", "1": "bad"}), r"\['good', 'bad'\].*refusal"),
        (lambda f: _checkpoints.edit_config(f, id2label={"0": "refusal"}), "expected two or more labels"),
        (lambda f: _checkpoints.edit_config(f, max_position_embeddings="many"), "max_position_embeddings is 'many'"),
        (lambda f: _checkpoints.edit_config(f, operating_points={"eager": 2}), r"operating_points is \{'eager': 2\}"),
        (lambda f: _checkpoints.edit_config(f, operating_points=[0.5]), r"operating_points is \[0.5\], expected prob"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused_with_the_reason(tmp_path: Path, damage: object, message: str) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    damage(source)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        checkpoint.read(source)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.read(tmp_path / "nowhere")


@warnings_of_others
def test_a_checkpoint_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = _checkpoints.bert(tmp_path / "source")
    weights = load_file(source / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, source / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks classifier.weight.*random numbers"):
        export(Options(source, tmp_path / "out"))


def test_operating_points_of_a_checkpoint_reach_the_bundle(tmp_path: Path) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    _checkpoints.edit_config(source, operating_points={"high-recall": 0.25})
    export(Options(source, tmp_path / "out", recipe="fp32"))
    assert demur.load(tmp_path / "out", threshold="high-recall").threshold == 0.25
    assert demur.load(tmp_path / "out").threshold == 0.5


@pytest.mark.parametrize("found", [["ok", "Rejected"], ["normal", "rejection"], ["NOT_REFUSAL", "REFUSAL"]])
def test_the_refusal_is_recognised_by_its_label(tmp_path: Path, found: list[str]) -> None:
    source = _checkpoints.bert(tmp_path / "source", layers=1)
    _checkpoints.edit_config(source, id2label=dict(enumerate(found)))
    assert checkpoint.read(source).refusal == 1


def test_errors_reach_the_terminal_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        f"demur-export: {tmp_path / 'nowhere'}: no such folder, no model of the catalogue "
        "(arctic-xs, distilroberta, e5-small, minos), and no Hub id (owner/name); "
        "give one of them, a folder being a checkpoint as transformers' save_pretrained writes it\n"
    )


def test_without_the_extra_the_pip_line_is_printed() -> None:
    script = "import sys\nsys.modules['torch'] = sys.modules['onnx'] = None\nfrom demur_export.cli import main\n"
    run = subprocess.run(
        [sys.executable, "-c", script + "sys.exit(main(['e5-small', '--out', 'y']))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "pip install 'demur[export]'" in run.stderr
    assert len(run.stderr.splitlines()) == 1
