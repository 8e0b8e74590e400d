"""What breaks on the way from the Hub, who may read, and what is not there."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
pytest.importorskip("huggingface_hub")

import _hub_client
from _hub import Hub, sha256
from _hub_client import FILES, NAME, OTHERS, Client

one, hub, client = _hub_client.one, _hub_client.hub, _hub_client.client


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
