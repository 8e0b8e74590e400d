"""The default bundle with its weights inside the graph, as the smallest bundles have them."""

import json
import shutil
from pathlib import Path

import onnx

from demur import _bundle
from demur_export import bundle, storing


def in_one_file(folder: Path) -> Path:
    """Write the bundle to a folder and return it."""
    shutil.copytree(_bundle.find(None), folder)
    model = onnx.load(folder / bundle.MODEL)
    kept = [prop for prop in model.metadata_props if prop.key != storing.WEIGHTS]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    assert storing.write(folder / bundle.MODEL, model, most=storing.ONE_FILE) is None
    manifest = json.loads((folder / "demur.json").read_text())
    del manifest["format"], manifest["files"]["weights"]
    manifest["files"]["model"] = storing.record(folder / bundle.MODEL)
    bundle.write_manifest(folder, manifest)
    return folder
