"""Validates `demur.json`. Every check names the file, the key, what was found and what was expected."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from demur.errors import (
    ManifestSyntaxError,
    MissingFileError,
    MissingKeyError,
    NewerFormatError,
    UnknownKeyError,
    WrongTypeError,
    WrongValueError,
)

MANIFEST = "demur.json"
# 2 is 1 with the weights in a file of their own, as a graph of many has them.
FORMAT = 2
RECIPES = ("fp32", "int8", "int8-row", "int8-weights", "fp16")
ROLES = ("system", "user", "assistant")
LEAST_TOKENS = 16

# Key -> type, or a table of the same kind. A tuple offers types; `Each(T)` is a list or table of T; `dict`
# alone is free-form.


class Each(NamedTuple):
    """A list or a table whose values all have one type."""

    container: type
    item: type | tuple[type, ...]


_FILE = {"path": str, "bytes": int, "sha256": str}
_FILES = {"model": _FILE, "tokenizer": _FILE}
_SCHEMA: dict[str, Any] = {
    "format": int,
    "name": str,
    "version": str,
    "source": {"repository": str, "revision": (str, type(None))},
    "licence": str,
    "languages": Each(list, str),
    "architecture": str,
    "parameters": int,
    "recipe": str,
    "max_tokens": int,
    "labels": Each(list, str),
    "refusal": int,
    "template": {"roles": Each(dict, str), "separator": str, "ellipsis": str},
    "operating_points": Each(dict, (float, int)),
    "files": _FILES,
    "parity": (dict, type(None)),
    "exported": dict,
}


def read(path: Path) -> dict[str, Any]:
    """Read and validate a manifest, all but its paths, which only its folder can judge.

    Raises:
        MissingFileError: There is none.
        ManifestError: One of its subclasses for each kind of fault.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(
            f"{path}: no such file; a bundle is the folder that demur-export CHECKPOINT --out FOLDER writes"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ManifestSyntaxError(f"{path}: not JSON ({error})") from error
    if not isinstance(raw, dict):
        raise WrongTypeError(f"{path}: the whole file is {_kind(raw)}, expected an object")
    _check_format(path, raw)
    schema = _SCHEMA | {"files": _FILES | {"weights": _FILE}} if raw.get("format") == FORMAT else _SCHEMA
    _check(path, raw, schema, "")
    _check_values(path, raw)
    return raw


def _check_format(path: Path, raw: dict[str, Any]) -> None:
    found = raw.get("format", FORMAT)
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormatError(
            f"{path}: format is {found}, this demur reads up to {FORMAT}; pip install --upgrade demur"
        )
    if isinstance(found, int) and not isinstance(found, bool) and found < 1:
        raise WrongValueError(f"{path}: key 'format' is {found}, expected 1 to {FORMAT}")


def _check(path: Path, raw: dict[str, Any], schema: dict[str, Any], prefix: str) -> None:
    for key in raw:
        if key not in schema:
            raise UnknownKeyError(f"{path}: key {prefix + key!r} is unknown; expected {', '.join(schema)}")
    for key, kind in schema.items():
        name = prefix + key
        if key not in raw:
            raise MissingKeyError(f"{path}: key {name!r} is missing; found {', '.join(raw) or 'none'}")
        value = raw[key]
        if isinstance(kind, dict):
            _expect(path, name, value, dict)
            _check(path, value, kind, f"{name}.")
        elif isinstance(kind, Each):
            _expect(path, name, value, kind.container)
            for at, item in value.items() if isinstance(value, dict) else enumerate(value):
                _expect(path, f"{name}.{at}", item, kind.item)
        else:
            _expect(path, name, value, kind)


def _expect(path: Path, name: str, value: object, kind: type | tuple[type, ...]) -> None:
    # subtle: True is an int to isinstance, and no key here is a truth value.
    if isinstance(value, bool) or not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_NAMES[k] for k in kinds)
        raise WrongTypeError(f"{path}: key {name!r} is {value!r} ({_kind(value)}), expected {wanted}")


_NAMES = {str: "a string", int: "an integer", float: "a number", list: "a list", dict: "an object", type(None): "null"}


def _kind(value: object) -> str:
    return "a truth value" if isinstance(value, bool) else _NAMES.get(type(value), type(value).__name__)


def _check_values(path: Path, raw: dict[str, Any]) -> None:
    def demand(holds: bool, key: str, found: object, expected: str) -> None:
        if not holds:
            raise WrongValueError(f"{path}: key {key!r} is {found!r}, expected {expected}")

    labels, roles = raw["labels"], raw["template"]["roles"]
    demand(raw["recipe"] in RECIPES, "recipe", raw["recipe"], f"one of {', '.join(RECIPES)}")
    demand(raw["max_tokens"] >= LEAST_TOKENS, "max_tokens", raw["max_tokens"], f"at least {LEAST_TOKENS}")
    demand(len(labels) >= 2 and len(set(labels)) == len(labels), "labels", labels, "two or more different names")
    demand(0 <= raw["refusal"] < len(labels), "refusal", raw["refusal"], f"an index of labels, 0 to {len(labels) - 1}")
    unknown = set(roles) - set(ROLES)
    demand(not unknown, "template.roles", sorted(unknown), f"roles among {', '.join(ROLES)}")
    demand("assistant" in roles, "template.roles", sorted(roles), "assistant among them")
    demand(bool(raw["template"]["ellipsis"]), "template.ellipsis", "", "a mark for what is left out")
    points = raw["operating_points"]
    demand("balanced" in points, "operating_points", sorted(points), "balanced among them")
    for name, threshold in points.items():
        demand(0 <= threshold <= 1, f"operating_points.{name}", threshold, "a probability, 0 to 1")
    for name, file in raw["files"].items():
        digest = file["sha256"]
        hexadecimal = len(digest) == 64 and not set(digest) - set("0123456789abcdef")
        demand(hexadecimal, f"files.{name}.sha256", digest, "64 lower-case hexadecimal digits")
