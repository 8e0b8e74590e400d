"""Runs graphs in memory while they are made: logits, and the ranges of inner tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from demur import _machine
from demur._session import INPUT, OUTPUT, options
from demur_export.rounding import Gram

Texts = Sequence[NDArray[np.int64]]
# Rows of each text that are kept.
_SAMPLE = 8


def logits(model: onnx.ModelProto, texts: Texts) -> NDArray[np.float32]:
    """Return logits `[texts, labels]` of token ids `[1, n]` each, run one by one with the runtime's own options."""
    session = _open(model)
    return np.concatenate([session.run([OUTPUT], {INPUT: ids})[0] for ids in texts])


class Observed(NamedTuple):
    """What an inner tensor `[..., channels]` looked like on real texts, as rows `[rows, channels]`."""

    lowest: NDArray[np.float32]  # by channel
    highest: NDArray[np.float32]
    rows: NDArray[np.float32]  # a sample
    gram: Gram
    texts: int

    @property
    def maxima(self) -> NDArray[np.float32]:
        """max|x_j| of every channel j."""
        return np.maximum(-self.lowest, self.highest)


def observe(model: onnx.ModelProto, names: Sequence[str], texts: Texts) -> dict[str, Observed]:
    """Run the texts one by one and tell how the inner tensors `names` look; a few rows of each text are kept."""
    wanted = list(dict.fromkeys(names))
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    session = _open(probe)
    # subtle: summed up text by text, since the tensors of all texts together can be larger than memory.
    found: dict[str, Observed] = {}
    for ids in texts:
        for name, value in zip(wanted, session.run(wanted, {INPUT: ids}), strict=True):
            found[name] = _joined(found.get(name), value.reshape(-1, value.shape[-1]))
    return {name: seen._replace(gram=seen.gram.mean()) for name, seen in found.items()}


def _joined(before: Observed | None, value: NDArray[np.float32]) -> Observed:
    """Add one text's rows; the gram is a sum until the end."""
    sample = value[:: max(1, len(value) // _SAMPLE)]
    seen = Observed(value.min(0), value.max(0), sample, Gram((value.T @ value).astype(np.float64), len(value)), 1)
    if before is None:
        return seen
    return Observed(
        np.minimum(before.lowest, seen.lowest),
        np.maximum(before.highest, seen.highest),
        np.concatenate([before.rows, seen.rows]),
        Gram(before.gram.matrix + seen.gram.matrix, before.gram.rows + seen.gram.rows),
        before.texts + seen.texts,
    )


def _open(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(
        model.SerializeToString(), options(_machine.cores()), providers=["CPUExecutionProvider"]
    )
