"""The published checkpoints that demur knows by name; their facts are data, one file each in `demur_models`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import demur_models

PIP = "pip install 'demur[export]'"


@dataclass(frozen=True)
class Entry:
    """A published checkpoint. What its own files say too is checked against this at export.

    Attributes:
        name: What `demur.load` and `demur-export` call it.
        repository: Its id on the Hugging Face Hub.
        revision: The commit to take, or None for the newest.
        licence: SPDX name of the weights' licence, from the repository's card; "unknown" where it states none.
        languages: Codes of the languages that the card names.
        parameters: Number of weights, rounded; for people.
        architecture: transformers' `model_type`.
        layers: Number of layers.
        width: Size of the hidden states.
        max_tokens: How many tokens it reads.
        pooling: `classifier_pooling` of its config; None where the config has none or may have any.
        labels: Names by output.
        template: How it writes conversations: a name that `demur-export --template` takes.
        special_tokens: Ids of the tokenizer's special tokens.
        frame: The special tokens that the tokenizer puts before and behind every text.
        pad_token: What the tokenizer pads with; its id is in `special_tokens`.
        config_pad_id: `pad_token_id` of the config where it matters: RoBERTa's positions begin behind it. None
            elsewhere, since demur never pads and the config need not agree with the tokenizer.
    """

    name: str
    repository: str
    revision: str | None
    licence: str
    languages: tuple[str, ...]
    parameters: int
    architecture: str
    layers: int
    width: int
    max_tokens: int
    pooling: str | None
    labels: tuple[str, ...]
    template: str
    special_tokens: Mapping[str, int]
    frame: tuple[str, ...]
    pad_token: str
    config_pad_id: int | None

    @property
    def command(self) -> str:
        """The command that makes its bundle."""
        return f"demur-export {self.name}"


def entries() -> dict[str, Entry]:
    """Return the catalogue by name."""
    found = {}
    for path in sorted(demur_models.CATALOGUE.glob("*.json")):
        raw = json.loads(path.read_text(encoding="utf-8"))
        for key in ("languages", "labels", "frame"):
            raw[key] = tuple(raw[key])
        found[raw["name"]] = Entry(**raw)
    return found
