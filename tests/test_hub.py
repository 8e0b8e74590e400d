"""Checkpoints come from the Hub through its real client, which here talks to a small Hub on loopback."""

import json

import pytest

pytestmark = pytest.mark.export
pytest.importorskip("huggingface_hub")

import _hub_client
from _hub import Hub, Request
from _hub_client import FILES, NAME, NEEDED, OTHERS, Client

one, hub, client = _hub_client.one, _hub_client.hub, _hub_client.client


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
