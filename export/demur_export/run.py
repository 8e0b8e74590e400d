"""Runs graphs in memory while they are made: logits, and the ranges of inner tensors."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from demur import _machine
from demur._session import INPUT, OUTPUT, options
from demur_export.rounding import Gram

Texts = Sequence[NDArray[np.int64]]


def logits(model: onnx.ModelProto, texts: Texts) -> NDArray[np.float32]:
    """Return logits `[texts, labels]` of token ids `[1, n]` each, run one by one with the runtime's own options."""
    session = _open(model)
    return np.concatenate([session.run([OUTPUT], {INPUT: ids})[0] for ids in texts])


def channel_maxima(model: onnx.ModelProto, names: Sequence[str], texts: Texts) -> dict[str, NDArray[np.float32]]:
    """Return max|x_j| over all rows of all texts for each inner tensor `[rows, channels]`, by its name."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, value in _inner(model, names, texts):
        top = np.abs(value).max(0)
        found[name] = np.maximum(found[name], top) if name in found else top
    return found


def grams(model: onnx.ModelProto, names: Sequence[str], texts: Texts) -> dict[str, Gram]:
    """Return the mean of x xT over all rows x of all texts for each inner tensor `[rows, channels]`, by its name."""
    found: dict[str, Gram] = {}
    for name, value in _inner(model, names, texts):
        matrix, rows = found.get(name, Gram(np.zeros((value.shape[1],) * 2), 0))
        found[name] = Gram(matrix + value.T @ value, rows + len(value))
    return {name: Gram(matrix / rows, rows) for name, (matrix, rows) in found.items()}


def _inner(model: onnx.ModelProto, names: Sequence[str], texts: Texts) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run the texts one by one and yield each inner tensor that is named."""
    wanted = list(dict.fromkeys(names))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    session = _open(probe)
    for ids in texts:
        yield from zip(wanted, session.run(wanted, {INPUT: ids}), strict=True)


def _open(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(
        model.SerializeToString(), options(_machine.cores()), providers=["CPUExecutionProvider"]
    )
