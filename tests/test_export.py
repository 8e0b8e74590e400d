"""A checkpoint becomes a bundle: end to end, by every recipe, and what falls short."""

import json
from pathlib import Path

import pytest

import demur
from demur import _machine
from demur.errors import ExportError, ParityError

pytestmark = pytest.mark.export
pytest.importorskip("torch")

import _checkpoints
import _exports
from _exports import OWN, warnings_of_others

from demur_export import cli
from demur_export.options import Options
from demur_export.pipeline import export

source = _exports.source


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
