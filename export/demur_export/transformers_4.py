"""What transformers 4 reads: a checkpoint's configuration in its terms, whichever version saved it.

transformers 5 says `dtype` for `torch_dtype`, `rope_parameters` by kind of layer for ModernBERT's two thetas,
`layer_types` for its interval of global layers, and names tokenizer classes that version 4 has not (source: its
`ModernBertConfig` and `PreTrainedConfig`).
"""

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demur.errors import CheckpointError

_THETAS = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
_INTERVAL = "global_attn_every_n_layers"


def configuration(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in the terms of transformers 4; what is in them already stays as it is.

    Args:
        path: Where it was read, for messages.
        config: What `config.json` holds.

    Raises:
        CheckpointError: It says something that those terms have no words for.
    """
    found = dict(config)
    if "dtype" in found:
        found.setdefault("torch_dtype", found["dtype"])
        del found["dtype"]
    if found.get("pad_token_id", 0) is None:  # as version 5 writes where there is none; version 4 has a default
        del found["pad_token_id"]
    if found.get("model_type") == "modernbert":
        _rotary(path, found)
        _layers(path, found)
    return found


def _rotary(path: Path, config: dict[str, Any]) -> None:
    """Put `rope_parameters` as `global_rope_theta` and `local_rope_theta`."""
    parameters = config.pop("rope_parameters", None)
    if parameters is None:
        return
    if not isinstance(parameters, dict) or set(parameters) != set(_THETAS):
        raise CheckpointError(
            f"{path}: rope_parameters is {parameters!r}, expected an object with {' and '.join(_THETAS)}"
        )
    for kind, key in _THETAS.items():
        stated = parameters[kind]
        theta = stated.get("rope_theta") if isinstance(stated, dict) else None
        plain = isinstance(stated, dict) and set(stated) <= {"rope_theta", "rope_type"}
        if not plain or stated.get("rope_type", "default") != "default":
            raise CheckpointError(
                f"{path}: rope_parameters.{kind} is {stated!r}; demur knows the rope_type 'default' with a rope_theta"
            )
        if theta is None:
            continue
        if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta < math.inf:
            raise CheckpointError(f"{path}: rope_parameters.{kind}.rope_theta is {theta!r}, expected a positive number")
        if config.setdefault(key, theta) != theta:
            raise CheckpointError(
                f"{path}: {key} is {config[key]}, but rope_parameters.{kind}.rope_theta is {theta}; expected one value"
            )


def _layers(path: Path, config: dict[str, Any]) -> None:
    """Put `layer_types` as the interval of global layers."""
    types = config.pop("layer_types", None)
    if types is None:
        return
    count = config.get("num_hidden_layers")
    # subtle: the lengths come first, as a count from outside may be far more than a list can hold.
    complete = isinstance(types, list) and len(types) > 0 and len(types) == count
    whole = [i for i, kind in enumerate(types) if kind == "full_attention"] if complete else []
    interval = whole[1] if len(whole) > 1 else len(types) if complete else 1
    if not complete or types != ["sliding_attention" if i % interval else "full_attention" for i in range(len(types))]:
        raise CheckpointError(
            f"{path}: layer_types is {types!r}; expected one for each of {count} layers, full_attention at the first "
            "and at regular intervals, sliding_attention between"
        )
    config[_INTERVAL] = interval


@contextmanager
def folder(source: Path, config: dict[str, Any]) -> Iterator[Path]:
    """Give a folder with the weights of a checkpoint and a configuration, and nothing else.

    No tokenizer is in it: demur makes token ids itself, from `tokenizer.json`, and a tokenizer that version 4 can't
    load must not keep it from loading the weights.

    Args:
        source: The checkpoint.
        config: Its configuration, as `configuration` returns it.
    """
    with tempfile.TemporaryDirectory(prefix="demur-checkpoint-") as made:
        for file in [*source.glob("*.safetensors"), *source.glob("*.safetensors.index.json")]:
            _link(file.resolve(), Path(made) / file.name)
        (Path(made) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield Path(made)


def _link(source: Path, target: Path) -> None:
    try:
        os.symlink(source, target)
    except OSError:  # Windows grants links to few users
        shutil.copyfile(source, target)
