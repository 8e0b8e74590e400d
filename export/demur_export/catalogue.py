"""A checkpoint against what the catalogue says of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from demur._catalogue import Entry
from demur._tokenizer import Tokenizer
from demur.errors import CheckpointError, TokenizerError
from demur_export.checkpoint import Checkpoint


class _Fact(NamedTuple):
    """Something that both say: where the checkpoint says it, and what."""

    file: str
    key: str
    found: object
    expected: object


def check(entry: Entry, checkpoint: Checkpoint) -> None:
    """Compare what a checkpoint's own files say with the catalogue.

    Args:
        entry: What the catalogue says.
        checkpoint: What the files say.

    Raises:
        CheckpointError: They differ; the message has the file and both values of everything that does.
    """
    wrong = [fact for fact in _facts(entry, checkpoint) if fact.found != fact.expected]
    if wrong:
        told = "; ".join(f"{f.file}: {f.key} is {f.found!r}, the catalogue says {f.expected!r}" for f in wrong)
        raise CheckpointError(
            f"{checkpoint.folder}: not the {entry.name} that demur's catalogue describes ({told}). If the published "
            f"model has changed and this is meant, export the folder itself, with --out and --template {entry.template}"
        )


def _facts(entry: Entry, checkpoint: Checkpoint) -> Iterator[_Fact]:
    config, file = checkpoint.config, "config.json"
    yield _Fact(file, "model_type", checkpoint.architecture, entry.architecture)
    yield _Fact(file, "num_hidden_layers", config.get("num_hidden_layers"), entry.layers)
    yield _Fact(file, "hidden_size", config.get("hidden_size"), entry.width)
    # Case says nothing of what a label means, and cards don't always keep to the configuration's.
    if [label.casefold() for label in checkpoint.labels] != [label.casefold() for label in entry.labels]:
        yield _Fact(file, "id2label", list(checkpoint.labels), list(entry.labels))
    if entry.pooling is not None:
        yield _Fact(file, "classifier_pooling", config.get("classifier_pooling"), entry.pooling)
    if entry.config_pad_id is not None:
        yield _Fact(file, "pad_token_id", config.get("pad_token_id"), entry.config_pad_id)
    positions = "config.json and tokenizer_config.json"
    yield _Fact(positions, "the number of tokens it reads", checkpoint.max_tokens, entry.max_tokens)
    yield from _tokenizer_facts(entry, checkpoint)


def _tokenizer_facts(entry: Entry, checkpoint: Checkpoint) -> Iterator[_Fact]:
    file = "tokenizer.json"
    try:
        tokenizer = Tokenizer(checkpoint.tokenizer)
    except TokenizerError as error:
        raise CheckpointError(str(error)) from error
    for token, number in entry.special_tokens.items():
        yield _Fact(file, f"the id of {token}", tokenizer.added.get(token), number)
    names = {number: token for token, number in tokenizer.added.items()}
    frame = [names.get(number, number) for number in tokenizer.encode("")]
    yield _Fact(file, "what stands around a text", frame, list(entry.frame))
    stated = _pad_token(checkpoint.folder)
    if stated is not None:
        yield _Fact(*stated, entry.pad_token)


def _pad_token(folder: Path) -> tuple[str, str, object] | None:
    """Return where the tokenizer's pad token is stated, by which key, and the token; None if nowhere."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / file
        found = _object(path).get("pad_token") if path.is_file() else None
        if found is not None:
            return file, "pad_token", found.get("content") if isinstance(found, dict) else found
    return None


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    return found if isinstance(found, dict) else {}
