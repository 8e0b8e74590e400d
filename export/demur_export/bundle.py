"""Writes a bundle's folder."""

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
from demur_export import storing

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
    """Write graph and tokenizer, large weights in a file of their own; return what the manifest records of them."""
    weights = storing.write(folder / MODEL, model)
    (folder / TOKENIZER).write_text(_plain_tokenizer(tokenizer), encoding="utf-8")
    written = {"model": folder / MODEL, "tokenizer": folder / TOKENIZER} | ({"weights": weights} if weights else {})
    return {key: storing.record(path) for key, path in written.items()}


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write `demur.json`, in the oldest format that has room for its files, so that older runtimes read it too."""
    format = FORMAT if "weights" in manifest["files"] else 1
    text = json.dumps({"format": format} | manifest, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _plain_tokenizer(path: Path) -> str:
    """Return the tokenizer without padding and truncation, which demur does not use."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["padding"] = raw["truncation"] = None
    return json.dumps(raw, ensure_ascii=False, separators=(",", ":"))
