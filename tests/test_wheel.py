"""What a stranger gets: the wheel, built from the sdist, in an empty environment."""

import hashlib
import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheel, pytest.mark.slow]
ROOT = Path(__file__).parents[1]
MODEL = "demur_models/demur-mini/model.onnx"


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    (found,) = out.glob("*.whl")
    return found


def test_the_model_in_the_wheel_is_the_recorded_one(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        manifest = json.loads(archive.read("demur_models/demur-mini/demur.json"))
        assert hashlib.sha256(archive.read(MODEL)).hexdigest() == manifest["files"]["model"]["sha256"]


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"demur", "demur_export", "demur_models"}
    data = {"demur_export/corpus.jsonl", "demur_models/demur-mini/tokenizer.json", "demur_models/catalogue/minos.json"}
    assert {"demur/py.typed", *data} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_sdist_holds_model_and_tests(wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {f"models/{MODEL}", "tests/test_wheel.py", "LICENSE", "README.md", "pyproject.toml"} <= names


def test_a_stranger_gets_a_working_detector_without_torch(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    refused = _run(tmp_path / "env" / "bin" / "demur", "check", "I'm sorry, but I can't help with that.", cwd=tmp_path)
    answered = _run(python, "-m", "demur", "check", "The capital of France is Paris.", "--json", cwd=tmp_path)
    assert refused.startswith("refusal")
    assert json.loads(answered)["refusal"] is False
    assert "intact" in _run(tmp_path / "env" / "bin" / "demur", "doctor", cwd=tmp_path)
    installed = _run(python, "-m", "pip", "list", "--format=freeze").lower()
    assert not [name for name in ("torch", "transformers", "optimum", "onnx==", "scipy") if f"\n{name}" in installed]
