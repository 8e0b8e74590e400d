"""`demur models` and `demur doctor`: what is there, and whether it is whole."""

import json
from collections.abc import Callable
from pathlib import Path

import _cli
import pytest
from _cli import ANSWER, Run, refused
from conftest import BundleCopy

import demur
import demur_models

run = _cli.run


def test_models_lists_what_can_be_loaded_by_name(run: Run) -> None:
    ran = run("models", "--json")
    listed = [row for row in json.loads(ran.out) if row["folder"]]
    assert demur_models.DEFAULT in [row["name"] for row in listed]
    for row in listed:
        loaded = demur.load(row["name"], threads=1)
        assert (row["name"], row["max_tokens"]) == (loaded.name, loaded.max_tokens)


def test_models_says_for_people_what_it_says_in_json(run: Run) -> None:
    text = run("models").out
    for row in json.loads(run("models", "--json").out):
        made = f"{row['precision']}, {row['megabytes']} MB" if row["folder"] else f"to be made: {row['command']}"
        assert f"{row['name']}  {row['max_tokens']} tokens, {made}" in text
        assert row["licence"] in text
        assert f"from {row['source']}\n" in text


def test_without_bundles_models_lists_none(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", tmp_path)
    monkeypatch.setattr(demur_models, "CATALOGUE", tmp_path)
    assert run("models") == (0, "", "")
    assert run("models", "--json") == (0, "[]\n", "")


def test_doctor_finds_a_sound_installation_sound(run: Run) -> None:
    ran = run("doctor")
    assert (ran.status, ran.err) == (0, "")
    assert f"demur {demur.__version__}, python " in ran.out
    assert f"bundle {demur_models.DEFAULT}" in ran.out
    assert "intact" in ran.out


def test_doctor_json_says_what_the_machine_grants(run: Run) -> None:
    report = json.loads(run("doctor", "--json").out)
    assert report["cores"]["granted"] >= 1
    assert report["versions"].keys() == {"demur", "python", "onnxruntime", "tokenizers", "numpy"}
    assert "CPUExecutionProvider" in report["providers"]
    assert [bundle["intact"] for bundle in report["bundles"]] == [True] * len(report["bundles"])


def _changed(bundle: BundleCopy) -> str:
    data = (bundle.folder / "model.onnx").read_bytes()
    bundle.replace("model", data[:-1] + bytes([data[-1] ^ 1]))
    return "sha256 is "


def _truncated(bundle: BundleCopy) -> str:
    bundle.replace("model", b"short")
    return "the copy is incomplete or changed"


def _lacking(bundle: BundleCopy) -> str:
    (bundle.folder / "tokenizer.json").unlink()
    return "no such file"


def _misspelt(bundle: BundleCopy) -> str:
    bundle.put("treshold", 0.5)
    return "key 'treshold' is unknown"


@pytest.mark.parametrize("damage", [_changed, _truncated, _lacking, _misspelt])
def test_doctor_reports_a_damaged_bundle(
    run: Run, bundle: BundleCopy, monkeypatch: pytest.MonkeyPatch, damage: Callable[[BundleCopy], str]
) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", bundle.folder.parent)
    fault = damage(bundle)
    told = run("doctor")
    assert told.status == 1
    assert f"DAMAGED: {bundle.folder}" in told.out
    assert fault in told.out
    shown = run("doctor", "--json")
    assert shown.status == 1
    (found,) = json.loads(shown.out)["bundles"]
    assert found["name"] == "bundle"
    assert found["intact"] is False
    assert fault in found["fault"]


def test_a_damaged_default_bundle_stops_check_with_one_line(
    run: Run, bundle: BundleCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demur_models, "FOLDER", bundle.folder.parent)
    monkeypatch.setattr(demur_models, "DEFAULT", "bundle")
    fault = _changed(bundle)
    refused(run("check", ANSWER), fault, "copy the bundle again")
