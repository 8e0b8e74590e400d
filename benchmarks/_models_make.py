"""Makes the graphs that a stand-in's bundle is compared with, in a process of its own.

    python _models_make.py CHECKPOINT BUNDLE FOLDER

prints a JSON object: the files of all graphs by side.
"""

import json
import sys
from pathlib import Path

import onnx

import _peers
from _models_sides import BLOCKS, DEMUR, INT8, ROW, WEIGHTS, texts
from demur_export import checkpoint as checkpoints
from demur_export import pipeline, quantize

GRAPHS, OPTIMUM = "graphs", "optimum"
# MatMulNBits' accuracy_level that quantises activations too, in blocks.
_LEVEL_4 = 4


def make(checkpoint: Path, bundle: Path, folder: Path) -> dict[str, str]:
    """Write the graphs that are compared with the bundle's, and return the files of all by side.

    Those of `int8-row` and `int8-weights` are the bundle's own where it is of that recipe, with no product in fp32.

    Args:
        checkpoint: The stand-in.
        bundle: Made of it.
        folder: Where the graphs go.
    """
    manifest = json.loads((bundle / "demur.json").read_text(encoding="utf-8"))
    own = manifest["recipe"] if manifest["exported"]["products left in fp32"] == "none" else None
    found = {DEMUR: bundle / manifest["files"]["model"]["path"]}
    (folder / GRAPHS).mkdir(parents=True, exist_ok=True)
    source = checkpoints.read(checkpoint)
    graph = pipeline.BUILDERS[source.architecture](source)
    calibration = texts(bundle)[pipeline._CALIBRATION]
    for side, recipe in ((ROW, "int8-row"), (WEIGHTS, "int8-weights")):
        if own == recipe:
            found[side] = found[DEMUR]
        else:
            found[side] = folder / GRAPHS / f"{recipe}.onnx"
            if not found[side].exists():  # minutes of calibration
                onnx.save(quantize.RECIPES[recipe](graph, calibration).model, found[side])
    in_blocks = onnx.load(found[WEIGHTS])
    for node in in_blocks.graph.node:
        for attribute in node.attribute:
            if node.op_type == "MatMulNBits" and attribute.name == "accuracy_level":
                attribute.i = _LEVEL_4
    found[BLOCKS] = folder / GRAPHS / "matmulnbits-4.onnx"
    onnx.save(in_blocks, found[BLOCKS])
    optimum = _peers.export(checkpoint, folder / OPTIMUM / "fp32")
    found[INT8] = _peers.quantise(optimum, folder / OPTIMUM / "int8")
    return {side: str(path) for side, path in found.items()}


if __name__ == "__main__":
    print(json.dumps(make(*map(Path, sys.argv[1:]))))
