"""Fixtures that several test files share."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import demur
from demur import Classifier, _bundle
from demur.testing import fake_classifier
from demur_export import corpus

# No deadline, as the machine may be busy; no database, so that a run leaves nothing behind in the repository.
settings.register_profile("demur", deadline=None, database=None)
settings.load_profile("demur")

# What exports in tests calibrate on and judge by: so many conversations, with replies of fewer characters.
CORPUS_SIZE, SHORT = 160, 500


class BundleCopy:
    """A copy of the default bundle, to damage.

    Attributes:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def manifest(self) -> Path:
        return self.folder / "demur.json"

    def read(self) -> dict[str, Any]:
        raw: dict[str, Any] = json.loads(self.manifest.read_text())
        return raw

    def write(self, raw: object) -> None:
        """Write `demur.json`: text as it is, anything else as JSON."""
        self.manifest.unlink(missing_ok=True)
        self.manifest.write_text(raw if isinstance(raw, str) else json.dumps(raw))

    def put(self, key: str, value: object) -> None:
        """Give a key of `demur.json`, dotted if nested, another value."""
        raw = self.read()
        table, last = _walk(raw, key)
        table[last] = value
        self.write(raw)

    def drop(self, key: str) -> None:
        """Take a key, dotted if nested, out of `demur.json`."""
        raw = self.read()
        table, last = _walk(raw, key)
        del table[last]
        self.write(raw)

    def replace(self, file: str, data: bytes, *, record: bool = False) -> Path:
        """Give `model` or `tokenizer` other contents, and record them in `demur.json` if asked to."""
        path = self.folder / str(self.read()["files"][file]["path"])
        path.unlink()  # subtle: the file is a hard link; writing into it would change every other copy
        path.write_bytes(data)
        if record:
            self.put(f"files.{file}.bytes", len(data))
            self.put(f"files.{file}.sha256", hashlib.sha256(data).hexdigest())
        return path


def _walk(raw: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *outer, last = key.split(".")
    for name in outer:
        raw = raw[name]
    return raw, last


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Empty folders for bundles made here and for what loading keeps: the user's are no matter of the tests.

    Nor of what they run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEMUR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("DEMUR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def short_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first `CORPUS_SIZE` of demur's own conversations that are short."""
    lines = corpus.OWN.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [(json.loads(line), line) for line in lines]
    short = [line for row, line in rows if len(row["response"]) < SHORT and "messages" not in row]
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text("".join(short[:CORPUS_SIZE]), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _exports_by_short_texts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Exports read and compare short texts alone, in a fifth of the time; `test_corpus` has them all."""
    if request.module.__name__ == "test_corpus":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "OWN", request.getfixturevalue("short_corpus"))
        yield


@pytest.fixture(scope="session")
def model() -> Classifier:
    """The default bundle, loaded once."""
    return demur.load(threads=1)


@pytest.fixture(scope="session")
def fake() -> Classifier:
    """A classifier without a model, which takes every text with the word sorry for a refusal."""
    return fake_classifier(lambda text: 0.99 if "sorry" in text else 0.01)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real copy of the default bundle, for hard links: the packaged files are never linked to."""
    folder = tmp_path_factory.mktemp("pristine") / "bundle"
    shutil.copytree(_bundle.find(None), folder)
    return folder


@pytest.fixture
def bundle(pristine: Path, tmp_path: Path) -> BundleCopy:
    """A bundle to damage; its files are links, so replace them and never write into them."""
    shutil.copytree(pristine, tmp_path / "bundle", copy_function=_link)
    return BundleCopy(tmp_path / "bundle")
