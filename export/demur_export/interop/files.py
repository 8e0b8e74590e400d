"""`config.json` and the tokenizer's files, as transformers and transformers.js read them."""

import json
import shutil
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer

from demur.errors import CheckpointError
from demur_export.checkpoint import Checkpoint
from demur_export.vocabulary import Pruned

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
TOKENIZER_CONFIG, SPECIAL = "tokenizer_config.json", "special_tokens_map.json"

_NAMES = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
# What padding is called where a checkpoint has nothing but its `tokenizer.json`.
_PADDING = ("[PAD]", "<pad>")
_ANY = "PreTrainedTokenizerFast"


def write(folder: Path, source: Checkpoint, tokenizer: Path, pruned: Pruned | None) -> int:
    """Write the four files, and return the id that pads.

    The checkpoint's own files are kept wherever they say something. A limit that is missing or beyond what the model
    reads becomes that of the model, so that clients cut long texts and don't fail on them.

    Args:
        folder: Where to.
        source: The checkpoint.
        tokenizer: The `tokenizer.json` to give along: the checkpoint's, or a pruned one.
        pruned: How that was pruned, if it was.

    Raises:
        CheckpointError: A file can't be read, or no token is known to pad.
    """
    shutil.copyfile(tokenizer, folder / TOKENIZER)
    config = _tokenizer_config(source, tokenizer, pruned)
    _dump(folder / TOKENIZER_CONFIG, config)
    special = {key: config[key] for key in (*_NAMES, "additional_special_tokens") if config.get(key)}
    _dump(folder / SPECIAL, special)
    _dump(folder / CONFIG, source.config if pruned is None else _renumbered(source.config, pruned))
    padding = Tokenizer.from_file(str(tokenizer)).token_to_id(_content(config["pad_token"]))
    if padding is None:
        raise CheckpointError(
            f"{source.folder / TOKENIZER_CONFIG}: pad_token is {_content(config['pad_token'])!r}, which "
            f"{TOKENIZER} has no entry for; name one that it has"
        )
    return int(padding)


def _tokenizer_config(source: Checkpoint, tokenizer: Path, pruned: Pruned | None) -> dict[str, Any]:
    # A map of special tokens beside a configuration is older than it, and speaks where that is silent.
    config = _optional(source.folder / SPECIAL) | _optional(source.folder / TOKENIZER_CONFIG)
    config["model_max_length"] = source.max_tokens
    # subtle: a class that is no part of transformers is code from the repository, which no client should have to run.
    config.pop("auto_map", None)
    if not hasattr(transformers, str(config.get("tokenizer_class"))):
        config["tokenizer_class"] = _ANY
    if pruned is not None:
        config.pop("added_tokens_decoder", None)  # by ids that are others now; tokenizer.json has the tokens too
    if not config.get("pad_token"):
        known = Tokenizer.from_file(str(tokenizer))
        found = [name for name in _PADDING if known.token_to_id(name) is not None]
        if not found:
            raise CheckpointError(
                f"{source.folder / TOKENIZER_CONFIG}: names no pad_token, and the tokenizer has no "
                f"{' or '.join(_PADDING)}; other clients pad, so add pad_token there, or leave out --interop"
            )
        config["pad_token"] = found[0]
    return config


def _renumbered(config: dict[str, Any], pruned: Pruned) -> dict[str, Any]:
    """Return a model's configuration with the ids that a pruned vocabulary gives its tokens."""
    after = {int(before): i for i, before in enumerate(pruned.kept)}
    found = config | {"vocab_size": len(pruned.kept)}
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            if value in after:
                found[key] = after[value]
            else:
                del found[key]
    return found


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _optional(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: holds a {type(found).__name__}, expected an object")
    return found


def _dump(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
