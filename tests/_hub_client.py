"""The real client of the Hub in processes of its own, and fixtures of it beside a small Hub."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from _hub import Hub, Worker

NAME = "someone/refusals"
CONFIG = json.dumps({"model_type": "bert", "architectures": ["BertForSequenceClassification"]}).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": b'{"t": 0}',
    "tokenizer_config.json": b"{}",
    "model.safetensors": b"w" * 99,
}
NEEDED = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
OTHERS = dict.fromkeys(["README.md", "pytorch_model.bin", "onnx/model.onnx", "training_args.bin"], b"not needed")
FETCH = """
import json, sys
from demur.errors import ExportError
from demur_export import source
for line in sys.stdin:
    asked, revision, offline = json.loads(line)
    try:
        found = source.fetch(source.find(asked), revision, offline=offline)
        print(json.dumps({"folder": str(found.folder), "commit": found.commit}), flush=True)
    except ExportError as error:
        print(json.dumps({"kind": type(error).__name__, "message": str(error)}), flush=True)
"""


class Client:
    """Fetches checkpoints in other processes, one for each environment, with one cache."""

    def __init__(self, hub: Hub, home: Path, script: str = FETCH) -> None:
        self._hub, self.home, self._script = hub, home, script
        self._workers: dict[frozenset[tuple[str, str]], Worker] = {}

    def ask(self, asked: str, revision: str | None, offline: bool, **environment: str) -> dict[str, Any]:
        key = frozenset(environment.items())
        if key not in self._workers:
            self._workers[key] = Worker(self._script, self._hub.environment(self.home, **environment))
        found: dict[str, Any] = self._workers[key].ask([asked, revision, offline])
        return found

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def fetch(
        self, asked: str = NAME, revision: str | None = None, *, offline: bool = False, **environment: str
    ) -> Path:
        """Return the folder of a checkpoint that can be had."""
        found = self.ask(asked, revision, offline, **environment)
        assert "folder" in found, found["message"]
        folder = Path(found["folder"])
        assert found["commit"] == folder.name
        return folder

    def refused(self, asked: str = NAME, revision: str | None = None, *, offline: bool = False, **more: str) -> str:
        """Return why a checkpoint can't be had, in one line."""
        found = self.ask(asked, revision, offline, **more)
        assert found["kind"] == "CheckpointError"
        message: str = found["message"]
        assert "\n" not in message
        return message


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Client]]:
    """One Hub and its client for all tests, each of which finds the one empty and the other's cache too."""
    with Hub() as hub, closing(Client(hub, tmp_path_factory.mktemp("client") / "hf")) as client:
        yield hub, client


@pytest.fixture
def hub(one: tuple[Hub, Client]) -> Hub:
    one[0].clear()
    return one[0]


@pytest.fixture
def client(one: tuple[Hub, Client]) -> Client:
    shutil.rmtree(one[1].home, ignore_errors=True)
    return one[1]
