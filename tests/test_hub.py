"""Checkpoints come from the Hub through its real client, which here talks to a small Hub on loopback."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.export
pytest.importorskip("huggingface_hub")

from _hub import Hub, Request, Worker, sha256

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
# Between its attempts to connect the client waits 23 seconds in all.
IMPATIENT = "import time; time.sleep = lambda _: None\n"


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


def test_only_the_files_that_an_export_reads_are_fetched(hub: Hub, client: Client) -> None:
    commit = hub.publish(NAME, FILES | OTHERS).commit
    folder = client.fetch()
    assert folder.name == commit
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert {request.name for request in hub.requests} == {*NEEDED, "special_tokens_map.json"}
    assert hub.asked("GET") == NEEDED


def test_a_tokenizer_config_is_not_needed(hub: Hub, client: Client) -> None:
    hub.publish(NAME, {name: data for name, data in FILES.items() if name != "tokenizer_config.json"})
    assert sorted(path.name for path in client.fetch().iterdir()) == sorted(set(NEEDED) - {"tokenizer_config.json"})


def _sharded(*names: str) -> dict[str, bytes]:
    table = {"weight_map": {f"weight.{i}": name for i, name in enumerate(names)}}
    kept = {name: data for name, data in FILES.items() if name != "model.safetensors"}
    return kept | {"model.safetensors.index.json": json.dumps(table).encode()}


def test_weights_in_several_files_are_all_fetched(hub: Hub, client: Client) -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    hub.publish(NAME, _sharded(first, second, first) | {first: b"1", second: b"2", "other.safetensors": b"3"})
    folder = client.fetch()
    assert [(folder / name).read_bytes() for name in (first, second)] == [b"1", b"2"]
    assert not (folder / "other.safetensors").exists()


def test_an_index_cannot_lead_out_of_its_folder(hub: Hub, client: Client) -> None:
    hub.publish(NAME, _sharded("../../../evil.safetensors"))
    assert "weight_map is no table of weights and .safetensors files beside it" in client.refused()


def test_what_is_in_the_cache_is_not_fetched_again(hub: Hub, client: Client) -> None:
    commit = hub.publish(NAME, FILES).commit
    folder = client.fetch()
    hub.requests.clear()
    assert client.fetch() == folder
    assert [(request.method, request.name) for request in hub.requests] == [("HEAD", "config.json")]
    hub.requests.clear()
    assert client.fetch(revision=commit) == folder
    assert hub.requests == []


def test_a_branch_or_tag_is_resolved_to_its_commit(hub: Hub, client: Client) -> None:
    repository = hub.publish(NAME, FILES)
    older = "0" * 40
    repository.commits[older] = FILES | {"tokenizer.json": b'{"old": 1}'}
    repository.branches["v1"] = older
    folder = client.fetch(revision="v1")
    assert folder.name == older
    assert (folder / "tokenizer.json").read_bytes() == b'{"old": 1}'


def test_a_branch_that_moves_meanwhile_does_not_mix_two_versions(hub: Hub, client: Client) -> None:
    repository = hub.publish(NAME, FILES)
    before, later = repository.commit, "1" * 40
    repository.commits[later] = FILES | {"tokenizer.json": b'{"new": 1}'}

    def move(request: Request) -> None:
        if request.name == "config.json":
            repository.branches["main"] = later

    hub.after = move
    folder = client.fetch()
    assert folder.name == before
    assert (folder / "tokenizer.json").read_bytes() == FILES["tokenizer.json"]


def test_a_catalogue_name_is_fetched_at_its_pinned_commit(hub: Hub, client: Client) -> None:
    pinned = "65584967c3f22ff7723e5370c65e0e76791e6055"
    repository = hub.publish("ProtectAI/distilroberta-base-rejection-v1", FILES)
    repository.commits[pinned] = FILES
    assert client.fetch("distilroberta").name == pinned
    assert client.fetch("distilroberta", revision="main").name == repository.commit


# What breaks on the way


def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, client: Client) -> None:
    weights = bytes(range(256)) * (12 * 4096)  # 12 MiB; the client writes 10 at a time
    repository = hub.publish(NAME, FILES | {"model.safetensors": weights})
    repository.cut["model.safetensors"] = 11 << 20
    message = client.refused()
    assert message.startswith(f"{NAME} at revision {repository.commit}: model.safetensors could not be downloaded")
    assert "run again, and it goes on where it stopped" in message
    hub.requests.clear()
    assert (client.fetch() / "model.safetensors").read_bytes() == weights
    assert [(request.name, request.range) for request in hub.requests if request.method == "GET"] == [
        ("model.safetensors", f"bytes={10 << 20}-")
    ]


def test_contents_that_are_not_those_of_the_etag_are_refused(hub: Hub, client: Client) -> None:
    repository = hub.publish(NAME, FILES)
    repository.etags["model.safetensors"] = expected = sha256(b"the real weights")
    message = client.refused()
    assert sha256(FILES["model.safetensors"]) in message
    (blob,) = re.findall(rf"delete (\S+{expected}) and run again", message)
    Path(blob).unlink()
    repository.commits[repository.commit] = FILES | {"model.safetensors": b"the real weights"}
    assert (client.fetch() / "model.safetensors").read_bytes() == b"the real weights"


def test_contents_of_another_size_are_refused(hub: Hub, client: Client) -> None:
    repository = hub.publish(NAME, FILES)
    repository.announced["model.safetensors"] = 98
    message = client.refused()
    assert "what came of model.safetensors has another size than was announced" in message
    assert "should be of size 98 but has size 99" in message
    (pattern,) = re.findall(r"delete (\S+) and run again", message)
    (rest,) = Path(pattern).parent.glob(Path(pattern).name)
    rest.unlink()
    repository.announced.clear()
    assert (client.fetch() / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_without_a_connection_the_cache_serves(tmp_path: Path) -> None:
    with Hub() as hub, closing(Client(hub, tmp_path / "hf")) as client:
        hub.publish(NAME, FILES)
        folder = client.fetch()
    with closing(Client(hub, tmp_path / "hf", IMPATIENT + FETCH)) as client:
        assert client.fetch() == folder
        message = client.refused("someone/else")
    assert message.startswith(f"someone/else at revision main: {hub.url} can't be reached for config.json")
    assert "HF_ENDPOINT" in message


# Who may read


def test_a_private_repository_needs_the_token(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES).token = "hf_secret"
    message = client.refused()
    assert message.startswith(f"{NAME} at revision main: no such repository at {hub.url}, or a private one")
    assert "HF_TOKEN" in message
    hub.requests.clear()
    client.fetch(HF_TOKEN="hf_secret")
    assert {request.token for request in hub.requests} == {"hf_secret"}


def test_a_gated_repository_says_where_to_ask(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES).gated = True
    for environment in ({}, {"HF_TOKEN": "hf_secret"}):
        message = client.refused(**environment)
        assert f"ask for access at {hub.url}/{NAME} and set HF_TOKEN" in message


def test_a_token_that_is_none_is_refused(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES)
    assert "refused access (HTTP 401); set HF_TOKEN" in client.refused(HF_TOKEN="expired")


# What is not there


def test_an_unknown_repository(hub: Hub, client: Client) -> None:
    assert "no such repository" in client.refused(HF_TOKEN="hf_any")
    assert "no such repository" in client.refused()


def test_an_unknown_revision(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES)
    message = client.refused(revision="v9")
    assert message.startswith(f"{NAME} at revision v9: the repository has no such revision")
    assert "leave out --revision" in message


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_file_is_named(hub: Hub, client: Client, name: str) -> None:
    repository = hub.publish(NAME, {file: data for file, data in FILES.items() if file != name})
    message = client.refused()
    assert re.match(rf"{NAME} at revision (main|{repository.commit}): there is no {name}; a checkpoint has", message)
    assert "model.safetensors" not in hub.asked("GET")


def test_a_repository_of_pickles_is_refused_before_one_is_fetched(hub: Hub, client: Client) -> None:
    repository = hub.publish(
        NAME, {name: data for name, data in (FILES | OTHERS).items() if name != "model.safetensors"}
    )
    message = client.refused()
    assert f"{repository.commit}: there is no model.safetensors" in message
    assert "only pytorch_model.bin, training_args.bin, which can run code when it is read" in message
    assert "safe_serialization=True" in message
    assert not [request for request in hub.requests if request.name.endswith(".bin")]


def test_a_repository_without_weights_is_refused(hub: Hub, client: Client) -> None:
    hub.publish(NAME, {name: data for name, data in FILES.items() if name != "model.safetensors"})
    assert "the repository holds no weights" in client.refused()


def test_an_unknown_architecture_is_refused_before_anything_large_is_fetched(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES | {"config.json": b'{"model_type": "llama"}'})
    assert "model_type is 'llama'; demur exports bert" in client.refused()
    assert {request.name for request in hub.requests} == {"config.json"}


# Offline


@pytest.mark.parametrize("how", [{"offline": True}, {"HF_HUB_OFFLINE": "1"}])
def test_offline_the_cache_serves_and_nothing_is_asked(hub: Hub, client: Client, how: dict[str, Any]) -> None:
    commit = hub.publish(NAME, FILES).commit
    folder = client.fetch()
    hub.requests.clear()
    assert client.fetch(**how) == client.fetch(revision=commit, **how) == folder
    assert hub.requests == []


def test_a_cache_that_another_program_filled_serves_offline(hub: Hub, client: Client) -> None:
    hub.publish(NAME, FILES)
    folder = client.fetch()
    shutil.rmtree(folder.parents[1] / ".no_exist")  # where the client notes what a commit has not; not all do
    assert client.fetch(offline=True) == folder


@pytest.mark.parametrize("how", [{"offline": True}, {"HF_HUB_OFFLINE": "1"}])
def test_offline_and_not_in_the_cache(hub: Hub, client: Client, how: dict[str, Any]) -> None:
    hub.publish(NAME, FILES)
    message = client.refused(**how)
    assert message.startswith(f"{NAME} at revision main: config.json is not in the cache ({client.home / 'hub'})")
    assert "run once without --offline and HF_HUB_OFFLINE" in message
    assert hub.requests == []


def test_offline_with_a_cache_that_lacks_the_weights(hub: Hub, client: Client) -> None:
    repository = hub.publish(NAME, FILES)
    repository.cut["model.safetensors"] = 10
    client.refused()
    assert "model.safetensors is not in the cache" in client.refused(offline=True)
