"""Runs graphs in memory while they are made: logits, and the ranges of inner tensors."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from demur import _machine
from demur._session import INPUT, OUTPUT, options


def logits(model: onnx.ModelProto, texts: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Return logits `[texts, labels]` of token ids `[1, n]` each, run one by one with the runtime's own options."""
    session = _open(model)
    return np.concatenate([session.run([OUTPUT], {INPUT: ids})[0] for ids in texts])


def channel_maxima(
    model: onnx.ModelProto, names: Sequence[str], texts: Sequence[NDArray[np.int64]]
) -> dict[str, NDArray[np.float32]]:
    """Return max|x_j| over all rows of all texts for each inner tensor `[rows, channels]`, by its name."""
    wanted = list(dict.fromkeys(names))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    session = _open(probe)
    found: dict[str, NDArray[np.float32]] = {}
    for ids in texts:
        for name, value in zip(wanted, session.run(wanted, {INPUT: ids}), strict=True):
            top = np.abs(value).max(0)
            found[name] = np.maximum(found[name], top) if name in found else top
    return found


def _open(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(
        model.SerializeToString(), options(_machine.cores()), providers=["CPUExecutionProvider"]
    )
