"""Writes a bundle's folder."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from demur._manifest import FORMAT, MANIFEST
from demur.errors import ExportError

MODEL, TOKENIZER, CARD = "model.onnx", "tokenizer.json", "README.md"


@contextmanager
def folder(out: Path) -> Iterator[Path]:
    """Give a folder to write a bundle to; it takes the place of `out` when all went well, and else vanishes.

    Raises:
        ExportError: `out` holds something that is no bundle.
    """
    if out.exists() and not (out / MANIFEST).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ExportError(f"{out}: exists and is no bundle; give --out a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield made
        made.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        os.replace(made, out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def write_model(folder: Path, model: onnx.ModelProto, tokenizer: Path) -> dict[str, Any]:
    """Write graph and tokenizer, and return what the manifest records of them."""
    onnx.checker.check_model(model)
    (folder / MODEL).write_bytes(model.SerializeToString())
    (folder / TOKENIZER).write_text(_plain_tokenizer(tokenizer), encoding="utf-8")
    return {"model": _record(folder / MODEL), "tokenizer": _record(folder / TOKENIZER)}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `demur.json`."""
    text = json.dumps({"format": FORMAT} | manifest, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _plain_tokenizer(path: Path) -> str:
    """Return the tokenizer without padding and truncation, which demur does not use."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["padding"] = raw["truncation"] = None
    return json.dumps(raw, ensure_ascii=False, separators=(",", ":"))


def _record(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"path": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
