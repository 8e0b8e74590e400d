"""From a name to a bundle: the catalogue, a download, the checks, the export, and `demur.load` by that name."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = [pytest.mark.export, pytest.mark.slow]
pytest.importorskip("torch")

import _checkpoints
from _hub import Hub, Worker

ENTRY = {
    "name": "tiny",
    "repository": "someone/tiny-refusals",
    "revision": None,
    "licence": "MIT",
    "languages": ["en", "de"],
    "parameters": 100_000,
    "architecture": "bert",
    "layers": 1,
    "width": 64,
    "max_tokens": 128,
    "pooling": None,
    "labels": ["Non-refusal", "Refusal"],
    "template": "minos",
    "special_tokens": {"[PAD]": 0, "[CLS]": 2, "[SEP]": 3},
    "frame": ["[CLS]", "[SEP]"],
    "pad_token": "[PAD]",
    "config_pad_id": None,
}
SCRIPT = """
import contextlib, io, json, os, sys
from pathlib import Path
import demur_models
from demur_export.cli import main
for line in sys.stdin:
    catalogue, home, arguments = json.loads(line)
    demur_models.CATALOGUE, os.environ["DEMUR_HOME"] = Path(catalogue), home
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(arguments)
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


class Ran(NamedTuple):
    """What a command left."""

    returncode: int
    stdout: str
    stderr: str


Export = Callable[..., Ran]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    source = _checkpoints.bert(tmp_path_factory.mktemp("source"), layers=1, outliers=1.0)
    with Hub() as made:
        made.publish_folder(ENTRY["repository"], source)  # type: ignore[arg-type]
        made.repositories["someone/other"] = made.repositories[ENTRY["repository"]]  # type: ignore[index]
        yield made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client") / "hf"


@pytest.fixture(scope="module")
def worker(hub: Hub, cache: Path) -> Iterator[Worker]:
    with closing(Worker(SCRIPT, hub.environment(cache))) as made:
        yield made


@pytest.fixture
def run(hub: Hub, worker: Worker, cache: Path, tmp_path: Path) -> Export:
    """Run `demur-export` with a catalogue of one model and an empty cache."""
    hub.requests.clear()
    shutil.rmtree(cache, ignore_errors=True)
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue/tiny.json").write_text(json.dumps(ENTRY))

    def command(*arguments: str) -> Ran:
        return Ran(*worker.ask([str(tmp_path / "catalogue"), str(tmp_path / "home"), [*arguments, "--recipe", "fp32"]]))

    return command


def test_a_name_becomes_a_bundle_that_loads_by_it(
    hub: Hub, run: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import demur

    ran = run("tiny")
    assert ran.returncode == 0, ran.stderr
    bundle = tmp_path / "home" / "tiny"
    assert ran.stdout.startswith(f"{bundle}: 0 label flips")
    raw = json.loads((bundle / "demur.json").read_text())
    commit = hub.repositories["someone/tiny-refusals"].commit
    assert raw["source"] == {"repository": "someone/tiny-refusals", "revision": commit}
    assert (raw["name"], raw["licence"], raw["languages"]) == ("tiny", "MIT", ["en", "de"])
    assert raw["template"]["roles"] == {"user": "<|user|>\n", "assistant": "<|assistant|>\n"}
    assert f"someone/tiny-refusals at revision `{commit}`" in (bundle / "README.md").read_text()
    # Neither transformers nor optimum asks the Hub for anything on its own.
    assert set(hub.asked("GET")) == {"config.json", "tokenizer.json", "tokenizer_config.json"} | {
        "special_tokens_map.json",
        "model.safetensors",
    }
    monkeypatch.setenv("DEMUR_HOME", str(bundle.parent))
    assert demur.load("tiny", threads=1).check("sorry", prompt="help?").model == "tiny"
    # Again, without the Hub: the cache has all of it, and the bundle is replaced.
    hub.requests.clear()
    again = run("tiny", "--offline")
    assert again.returncode == 0, again.stderr
    assert hub.requests == []
    assert json.loads((bundle / "demur.json").read_text())["source"]["revision"] == commit


def test_a_checkpoint_unlike_its_entry_is_refused(run: Export, tmp_path: Path) -> None:
    (tmp_path / "catalogue/tiny.json").write_text(json.dumps(ENTRY | {"labels": ["Refusal", "Non-refusal"]}))
    ran = run("tiny")
    assert ran.returncode == 1
    told = ran.stderr.splitlines()[-1]
    assert "not the tiny that demur's catalogue describes" in told
    assert "id2label is ['Non-refusal', 'Refusal'], the catalogue says ['Refusal', 'Non-refusal']" in told
    assert not (tmp_path / "home").exists()


def test_a_repository_that_the_catalogue_has_not_is_exported_too(hub: Hub, run: Export, tmp_path: Path) -> None:
    out = tmp_path / "other"
    ran = run("someone/other", "--out", str(out), "--template", "response-only", "--revision", "main")
    assert ran.returncode == 0, ran.stderr
    raw = json.loads((out / "demur.json").read_text())
    assert raw["source"] == {"repository": "someone/other", "revision": hub.repositories["someone/other"].commit}
    assert (raw["name"], raw["licence"], raw["labels"]) == ("other", "unknown", ["Non-refusal", "Refusal"])
    assert raw["template"]["roles"] == {"assistant": ""}


def test_a_mistyped_folder_is_told_from_a_repository(run: Export, tmp_path: Path) -> None:
    ran = run("checkpoints/mine", "--out", str(tmp_path / "mine"))
    assert ran.returncode == 1
    assert ran.stderr.startswith("fetching checkpoints/mine from the Hub; there is no folder of this name\n")
    assert "no such repository" in ran.stderr
