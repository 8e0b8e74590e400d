"""A checkpoint becomes a bundle: end to end, and what is refused on the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import demur
from demur import _machine
from demur.errors import CheckpointError, ExportError, ParityError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

import _checkpoints
from conftest import CORPUS_SIZE

from demur_export import checkpoint, cli
from demur_export.options import Options
from demur_export.pipeline import export

OWN = CORPUS_SIZE

warnings_of_others = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _checkpoints.bert(tmp_path_factory.mktemp("checkpoint"), outliers=1.0, layers=1)


@pytest.fixture(scope="module")
def bundle(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "tiny"
    assert cli.main([str(source), "--out", str(out), "--licence", "MIT", "--languages", "en,de"]) == 0
    return out


@warnings_of_others
def test_a_checkpoint_becomes_a_bundle_that_classifies(source: Path, bundle: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = demur.load(bundle)
    text = "<|user|>are you there?<|assistant|>the answer is sorry"
    ids = AutoTokenizer.from_pretrained(source)(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        reference = AutoModelForSequenceClassification.from_pretrained(source)(ids).logits[0].softmax(0)[1].item()
    assert model.encode({"text": text}) == ids[0].tolist()
    assert model.check("the answer is sorry", prompt="are you there?").score == pytest.approx(reference, abs=0.1)


@warnings_of_others
def test_a_text_that_fits_is_tokenised_as_transformers_does_it(source: Path, bundle: Path) -> None:
    from transformers import AutoTokenizer

    model, reference = demur.load(bundle), AutoTokenizer.from_pretrained(source)
    for text in (
        "",
        "Caf\u00e9  [x] a<b",
        "WHO?\n\n```code```\t",
        "\u4e2d\u6587 mixed",
        "\U0001f600!",
        "it's 3.14 & more",
    ):
        exchange = f"<|user|>{text}?<|assistant|>.{text}"
        assert model.encode({"prompt": f"{text}?", "response": f".{text}"}) == reference(exchange).input_ids
        assert model.encode({"text": "<|system|>be" + exchange}) == reference("<|system|>be" + exchange).input_ids


def test_the_manifest_says_what_the_bundle_is(bundle: Path) -> None:
    raw = json.loads((bundle / "demur.json").read_text())
    assert (raw["name"], raw["architecture"], raw["recipe"], raw["max_tokens"]) == ("tiny", "bert", "int8-row", 128)
    assert (raw["labels"], raw["refusal"], raw["licence"]) == (["Non-refusal", "Refusal"], 1, "MIT")
    assert raw["template"]["roles"]["user"] == "<|user|>"
    assert raw["parity"]["texts"] == OWN // 2
    assert raw["parity"]["max_dp"] <= 0.1
    assert raw["parity"]["within_gate"] is True
    assert raw["parity"]["processor"] == _machine.processor()
    assert [one["recipe"] for one in raw["exported"]["tried"]][-1] == raw["recipe"]
    assert [one["within_gate"] for one in raw["exported"]["tried"]][-1] is True
    assert raw["exported"]["tried"][-1]["bytes"] == raw["files"]["model"]["bytes"]
    assert {path.name for path in bundle.iterdir()} == {"demur.json", "model.onnx", "tokenizer.json", "README.md"}


def test_the_card_has_the_facts(bundle: Path) -> None:
    card = (bundle / "README.md").read_text()
    assert "license: mit\nlanguage:\n- en\n- de\n---" in card
    for fact in ('demur.load("tiny")', "| labels | 0: Non-refusal, 1: Refusal |", "## Distance from PyTorch"):
        assert fact in card
    assert _machine.processor()["name"] in card
    tried = json.loads((bundle / "demur.json").read_text())["exported"]["tried"]
    rows = [line.split("|")[1].strip() for line in card[card.index("| recipe |") :].splitlines()[2:]]
    assert rows == [*(f"`{one['recipe']}`" for one in tried), f"limit on {OWN // 2} texts"]


@warnings_of_others
@pytest.mark.parametrize("recipe", ["fp32", "fp16", "int8", "int8-weights"])
def test_the_other_recipes_work_on_a_mild_checkpoint(tmp_path: Path, recipe: str) -> None:
    source = _checkpoints.bert(tmp_path / "source", outliers=1.0, layers=1)
    export(Options(source, tmp_path / "out", recipe=recipe))
    assert 0 <= demur.load(tmp_path / "out").check("sorry").score <= 1


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose outliers one scale for all rows can't cope with."""
    return _checkpoints.bert(tmp_path_factory.mktemp("wild"), outliers=300.0)


@warnings_of_others
def test_a_recipe_that_falls_short_is_refused_with_its_figures_and_the_way_out(wild: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=rf"recipe int8 falls short of PyTorch on {OWN // 2} texts:") as error:
        export(Options(wild, tmp_path / "out", recipe="int8"))
    lines = str(error.value).splitlines()
    assert lines[1].startswith("| recipe | products in 8 bits |")
    assert lines[3].startswith("| `int8` | 13 | 0 |")
    assert lines[4].startswith(f"| limit on {OWN // 2} texts | | | | | 0 | 0 | 0.1000 | 0.00300 |")
    assert (
        lines[5]
        == "let --recipe auto look for one that is near enough, or accept the distance with --recipe int8 --accept"
    )
    assert list(tmp_path.iterdir()) == []


@warnings_of_others
def test_what_falls_short_can_be_accepted_and_says_so(
    wild: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main([str(wild), "--out", str(out), "--recipe", "int8", "--accept"]) == 0
    raw = json.loads((out / "demur.json").read_text())
    assert (raw["recipe"], raw["parity"]["within_gate"]) == ("int8", False)
    assert "**This bundle falls short of demur's gate" in (out / "README.md").read_text()
    assert 0 <= demur.load(out).check("sorry").score <= 1


@warnings_of_others
def test_auto_goes_on_to_what_is_near_enough(wild: Path, tmp_path: Path) -> None:
    found = export(Options(wild, tmp_path / "out"))
    raw = json.loads((tmp_path / "out" / "demur.json").read_text())
    tried = raw["exported"]["tried"]
    assert tried[0]["recipe"] == "int8-row"
    assert [one["within_gate"] for one in tried] == [False] * (len(tried) - 1) + [True]
    assert len(tried) > 1
    assert tried[-1] | raw["parity"] == tried[-1] | found.record() | raw["parity"]
    assert raw["parity"]["mean_dp"] == found.mean_dp <= 0.003
    assert "falls short" not in (tmp_path / "out" / "README.md").read_text()


def test_auto_needs_no_acceptance(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main([str(source), "--out", str(tmp_path / "out"), "--accept"])
    assert "--accept is for a --recipe of your choice" in capsys.readouterr().err


@warnings_of_others
def test_examples_are_checked_after_the_export(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / "out", tmp_path / "examples.jsonl"
    arguments = [str(source), "--out", str(out), "--recipe", "fp32", "--examples", str(file)]
    file.write_text('{"response": "no", "prompt": "", "expected": "Maybe"}\n')
    assert cli.main(arguments) == 1
    assert "line 1: expected is 'Maybe'" in capsys.readouterr().err
    assert not out.exists()  # found out before anything was exported
    label = {"Refusal": "Non-refusal", "Non-refusal": "Refusal"}
    file.write_text('{"response": "no", "prompt": "", "expected": "Refusal"}\n')
    status = cli.main(arguments)
    said = demur.load(out).check("no", prompt="").label
    assert status == (0 if said == "Refusal" else 1)
    file.write_text(json.dumps({"response": "no", "prompt": "", "expected": label[said]}) + "\n")
    assert cli.main(arguments) == 1
    assert "0 of 1 examples as expected" in capsys.readouterr().out
    assert demur.load(out).check("no", prompt="").label == said


@warnings_of_others
def test_a_bundle_is_replaced_only_by_a_whole_one(source: Path, wild: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(Options(source, out))
    before = (out / "demur.json").read_bytes()
    with pytest.raises(ParityError):
        export(Options(wild, out, recipe="int8"))
    assert (out / "demur.json").read_bytes() == before


def test_a_folder_that_is_no_bundle_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="exists and is no bundle"):
        export(Options(source, tmp_path))
    assert (tmp_path / "thesis.txt").exists()


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
