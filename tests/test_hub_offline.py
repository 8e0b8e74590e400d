"""Without a network, or told to do without, checkpoints come from the cache or not at all."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.export
pytest.importorskip("huggingface_hub")

import _hub_client
from _hub import Hub
from _hub_client import FETCH, FILES, NAME, Client

one, hub, client = _hub_client.one, _hub_client.hub, _hub_client.client
# Between its attempts to connect the client waits 23 seconds in all.
IMPATIENT = "import time; time.sleep = lambda _: None\n"


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


def test_without_a_connection_the_cache_serves(tmp_path: Path) -> None:
    with Hub() as hub, closing(Client(hub, tmp_path / "hf")) as client:
        hub.publish(NAME, FILES)
        folder = client.fetch()
    with closing(Client(hub, tmp_path / "hf", IMPATIENT + FETCH)) as client:
        assert client.fetch() == folder
        message = client.refused("someone/else")
    assert message.startswith(f"someone/else at revision main: {hub.url} can't be reached for config.json")
    assert "HF_ENDPOINT" in message
