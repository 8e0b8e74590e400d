"""The default bundle with its weights in a file of their own, as bundles of more than 100 MB have them."""

import json
import shutil
from pathlib import Path

import onnx

from demur import _bundle
from demur_export import bundle, storing


def mapped(folder: Path) -> Path:
    """Write the bundle to a folder and return it."""
    shutil.copytree(_bundle.find(None), folder)
    model = onnx.load(folder / bundle.MODEL)
    weights = storing.write(folder / bundle.MODEL, model, most=0)
    assert weights is not None
    manifest = json.loads((folder / "demur.json").read_text())
    del manifest["format"]
    manifest["files"] |= {"model": storing.record(folder / bundle.MODEL), "weights": storing.record(weights)}
    bundle.write_manifest(folder, manifest)
    return folder
