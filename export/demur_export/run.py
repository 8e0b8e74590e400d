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


def thinned(texts: Texts, tokens: int) -> Texts:
    """Return texts of about so many `tokens` in all, or all of them if they have no more.

    A text longer than some length is taken as often as that length goes into it, so that long texts don't use up what
    short ones need; which ones is a matter of their order alone.
    """
    lengths = np.array([ids.shape[1] for ids in texts], np.float64)
    if lengths.sum() <= tokens:
        return texts
    low, high = 0.0, float(lengths.max())
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if np.minimum(lengths, middle).sum() > tokens else (middle, high)
    due = np.cumsum(np.minimum(1, low / lengths))
    taken = np.floor(due + 1e-9) > np.floor(np.concatenate([[0.0], due[:-1]]) + 1e-9)
    return [ids for ids, take in zip(texts, taken, strict=True) if take]


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


def observe(
    model: onnx.ModelProto, names: Sequence[str], texts: Texts, memory: int = 2 * 1024**3
) -> dict[str, Observed]:
    """Run the texts one by one and tell how the inputs of products `names` look; a few rows of each text are kept.

    Args:
        model: The graph.
        names: Inputs of products with constant weights.
        texts: Token ids `[1, n]` of each text.
        memory: Bytes of those inputs that one run may hold: what is more is observed in another run.
    """
    wanted = list(dict.fromkeys(names))
    found: dict[str, Observed] = {}
    # subtle: summed up text by text, and of long texts a few inputs at a time: together they can be larger than memory.
    for some in _portions(model, wanted, max(ids.shape[1] for ids in texts), memory):
        session = _open(_probe(model, some))
        for ids in texts:
            for name, value in zip(some, session.run(some, {INPUT: ids}), strict=True):
                found[name] = _joined(found.get(name), value.reshape(-1, value.shape[-1]))
    return {name: seen._replace(gram=seen.gram.mean()) for name, seen in found.items()}


def _portions(model: onnx.ModelProto, names: Sequence[str], tokens: int, memory: int) -> list[list[str]]:
    """Return the products' inputs `names` in portions that fit in memory for a text of so many tokens."""
    inputs = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    widths = {
        n.input[0]: inputs[n.input[1]] for n in model.graph.node if n.op_type == "MatMul" and n.input[1] in inputs
    }
    found: list[list[str]] = [[]]
    room = memory
    for name in names:
        size = 4 * tokens * int(widths[name])
        if size > room and found[-1]:
            found.append([])
            room = memory
        found[-1].append(name)
        room -= size
    return found


def _probe(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return the model with inner tensors among its outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return probe


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
