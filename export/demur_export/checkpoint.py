"""A checkpoint as published: its folder, checked before anything heavy is loaded."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from demur._manifest import LEAST_TOKENS
from demur.errors import CheckpointError
from demur_export import transformers_4

ARCHITECTURES = {
    "bert": "BertForSequenceClassification",
    "roberta": "RobertaForSequenceClassification",
    "xlm-roberta": "XLMRobertaForSequenceClassification",
    "modernbert": "ModernBertForSequenceClassification",
}
# Architectures whose positions begin behind the padding id (`create_position_ids_from_input_ids` in transformers).
_BEHIND_PADDING = ("roberta", "xlm-roberta")
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
_SHARD = re.compile(r"[\w.-]+\.safetensors")
# `model_max_length` of a tokenizer that knows none is a huge number.
_NO_LIMIT = 10**6
_REFUSAL = ("refus", "reject", "declin")
_NEGATION = ("non", "no_", "not", "no-")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint's own files say.

    Attributes:
        folder: Where it lies.
        config: `config.json`, in the terms of transformers 4.
        architecture: transformers' `model_type`.
        labels: Names by output.
        refusal: Which output is the refusal.
        max_tokens: How many tokens the model reads.
        parameters: Number of weights.
        operating_points: Thresholds by name; `balanced` is among them.
    """

    folder: Path
    config: dict[str, Any]
    architecture: str
    labels: tuple[str, ...]
    refusal: int
    max_tokens: int
    parameters: int
    operating_points: dict[str, float]

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint's folder.

    Args:
        folder: `config.json`, `model.safetensors` and `tokenizer.json`, as transformers saves them.

    Raises:
        CheckpointError: A file is missing or unusable, the architecture is unknown, or no label is a refusal.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give a checkpoint as transformers' save_pretrained writes it")
    admit(folder)
    config = transformers_4.configuration(folder / "config.json", _json(folder / "config.json"))
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: no such file; save the fast tokenizer beside the weights "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...))"
        )
    labels = _labels(folder, config)
    return Checkpoint(
        folder=folder,
        config=config,
        architecture=config["model_type"],
        labels=labels,
        refusal=_refusal(folder, labels),
        max_tokens=_max_tokens(folder, config),
        parameters=_count(folder),
        operating_points=_operating_points(folder, config),
    )


def admit(folder: Path) -> None:
    """Look at a checkpoint's `config.json` alone.

    Raises:
        CheckpointError: It is missing or unusable, or of no architecture that demur exports.
    """
    config = _json(folder / "config.json")
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"{folder / 'config.json'}: model_type is {architecture!r}; demur exports {', '.join(ARCHITECTURES)}"
        )
    named = config.get("architectures") or []
    if named and ARCHITECTURES[architecture] not in named:
        raise CheckpointError(
            f"{folder / 'config.json'}: architectures is {named}, expected {ARCHITECTURES[architecture]}; "
            "this checkpoint is no sequence classifier"
        )


def first_position(config: dict[str, Any]) -> int:
    """Return the row of the table of positions that a text's first token takes.

    RoBERTa's positions begin behind the row of its padding token, `pad_token_id`. What stands before is never read,
    since demur does not pad: of 514 rows 512 are usable.

    Args:
        config: A checkpoint's `config.json`.

    Raises:
        CheckpointError: The architecture counts from the padding id, and the configuration has none.
    """
    if config.get("model_type") not in _BEHIND_PADDING:
        return 0
    padding = config.get("pad_token_id")
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise CheckpointError(
            f"config.json: pad_token_id is {padding!r}, expected a token's id: {config['model_type']} counts positions "
            "from it"
        )
    return padding + 1


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; a checkpoint has one") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, expected an object")
    return found


def _labels(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    table = config.get("id2label") or {}
    try:
        labels = tuple(str(table[str(i)]) for i in range(len(table)))
    except KeyError as error:
        raise CheckpointError(f"{folder / 'config.json'}: id2label has no entry {error}") from error
    if len(labels) < 2:
        raise CheckpointError(f"{folder / 'config.json'}: id2label names {list(labels)}, expected two or more labels")
    return labels


def _refusal(folder: Path, labels: tuple[str, ...]) -> int:
    found = [
        i
        for i, label in enumerate(labels)
        if any(word in label.lower() for word in _REFUSAL) and not label.lower().startswith(_NEGATION)
    ]
    if len(found) != 1:
        raise CheckpointError(
            f"{folder / 'config.json'}: id2label names {list(labels)}; "
            "expected exactly one of them to be a refusal or rejection"
        )
    return found[0]


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    limit = config.get("max_position_embeddings")
    if not isinstance(limit, int):
        raise CheckpointError(f"{folder / 'config.json'}: max_position_embeddings is {limit!r}, expected an integer")
    limit -= first_position(config)
    path = folder / "tokenizer_config.json"
    stated = _json(path).get("model_max_length") if path.is_file() else None
    if isinstance(stated, int) and stated < _NO_LIMIT:
        limit = min(limit, stated)
    if limit < LEAST_TOKENS:
        raise CheckpointError(f"{folder}: the model reads {limit} tokens, fewer than the {LEAST_TOKENS} demur needs")
    return limit


def _operating_points(folder: Path, config: dict[str, Any]) -> dict[str, float]:
    points = config.get("operating_points", {})
    numbers = isinstance(points, dict) and all(isinstance(at, int | float) and 0 <= at <= 1 for at in points.values())
    if not numbers:
        raise CheckpointError(
            f"{folder / 'config.json'}: operating_points is {points!r}, expected probabilities by name"
        )
    return {"balanced": 0.5, **points}


def weights(folder: Path) -> list[Path]:
    """Return the paths of a checkpoint's weight files; see `shards`."""
    return [folder / name for name in shards(folder)]


def shards(folder: Path) -> list[str]:
    """Return the names of a checkpoint's weight files, `model.safetensors` or what the index beside it lists.

    Raises:
        CheckpointError: There are none, or the index is unusable.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    path = folder / INDEX
    if not path.is_file():
        pickles = sorted(p.name for p in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")])
        held = f"only {', '.join(pickles)}, which can run code when it is read" if pickles else "no weights"
        raise CheckpointError(
            f"{folder / WEIGHTS}: no such file; the folder holds {held}; save with safe_serialization=True"
        )
    table = _json(path).get("weight_map")
    names = list(table.values()) if isinstance(table, dict) else []
    # subtle: the index comes from outside, so a name in it must not lead out of the folder.
    if not names or not all(isinstance(name, str) and _SHARD.fullmatch(name) for name in names):
        raise CheckpointError(f"{path}: weight_map is no table of weights and .safetensors files beside it")
    return sorted(set(names))


def _count(folder: Path) -> int:
    shapes = []
    for path in weights(folder):
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, but {INDEX} names it; copy the checkpoint again")
        try:
            with safe_open(path, framework="np") as file:
                shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        except Exception as error:  # safetensors' own exception type is not exported in every version
            raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    total = 0
    for shape in shapes:
        size = 1
        for length in shape:
            size *= length
        total += size
    return total
