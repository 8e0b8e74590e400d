"""Runs graphs in memory while they are made: logits, and the ranges of inner tensors."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from demur import _machine
from demur._session import INPUT, OUTPUT, options
from demur_export import storing
from demur_export.rounding import Gram

Texts = Sequence[NDArray[np.int64]]
# Rows of each text that are kept, and rows that are multiplied together for a gram.
_SAMPLE, _TOGETHER = 8, 1024


def logits(model: onnx.ModelProto, texts: Texts) -> NDArray[np.float32]:
    """Return logits `[texts, labels]` of token ids `[1, n]` each, run one by one with the runtime's own options."""
    session = _open(model)
    return np.concatenate([session.run([OUTPUT], {INPUT: ids})[0] for ids in texts])


def thinned(texts: Texts, tokens: int) -> Texts:
    """Return texts of about so many `tokens` in all, or all of them if they have no more.

    A text longer than some length is taken as seldom as that length goes into it, so that long texts don't use up what
    short ones need. Those of like length take turns, in the order that they have.
    """
    lengths = np.array([ids.shape[1] for ids in texts], np.float64)
    if lengths.sum() <= tokens:
        return texts
    low, high = 0.0, float(lengths.max())
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if np.minimum(lengths, middle).sum() > tokens else (middle, high)
    order = np.argsort(lengths, kind="stable")
    due = np.cumsum(np.minimum(1, low / lengths[order]))
    taken = order[np.floor(due + 1e-9) > np.floor(np.concatenate([[0.0], due[:-1]]) + 1e-9)]
    return [texts[i] for i in np.sort(taken)]


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
    # subtle: summed up as it goes, and of long texts a few inputs at a time: together they can be larger than memory.
    for some in _portions(model, wanted, max(ids.shape[1] for ids in texts), memory):
        session, sums = _open(_probe(model, some), arena=False), [_Sum() for _ in some]
        for ids in texts:
            values = session.run(some, {INPUT: ids})
            for one in sums:
                # subtle: each is let go of before the next is added up; of a long text they are gigabytes.
                value = values.pop(0)
                one.add(value.reshape(-1, value.shape[-1]))
        found |= {name: one.observed() for name, one in zip(some, sums, strict=True)}
    return found


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


class _Sum:
    """Sums up how one inner tensor looks, text by text."""

    def __init__(self) -> None:
        self._lowest: NDArray[np.float32] | None = None
        self._highest: NDArray[np.float32] | None = None
        self._matrix: NDArray[np.float64] | None = None
        self._samples: list[NDArray[np.float32]] = []
        self._waiting: list[NDArray[np.float32]] = []
        self._rows = self._texts = 0

    def add(self, value: NDArray[np.float32]) -> None:
        """Add one text's rows."""
        lowest, highest = value.min(0), value.max(0)
        self._lowest = lowest if self._lowest is None else np.minimum(self._lowest, lowest)
        self._highest = highest if self._highest is None else np.maximum(self._highest, highest)
        self._samples.append(value[:: max(1, len(value) // _SAMPLE)].copy())
        # subtle: of a few rows the gram is as large as of many, so rows are multiplied many at a time.
        self._waiting.append(value)
        self._rows, self._texts = self._rows + len(value), self._texts + 1
        if sum(map(len, self._waiting)) >= _TOGETHER:
            self._multiply()

    def observed(self) -> Observed:
        """Return the sum, the gram as a mean."""
        self._multiply()
        assert self._lowest is not None
        assert self._highest is not None
        assert self._matrix is not None
        self._matrix /= self._rows
        gram = Gram(self._matrix, self._rows)
        return Observed(self._lowest, self._highest, np.concatenate(self._samples), gram, self._texts)

    def _multiply(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting = []
        product = rows.T @ rows
        if self._matrix is None:
            self._matrix = product.astype(np.float64)
        else:
            self._matrix += product


def _open(model: onnx.ModelProto, *, arena: bool = True) -> ort.InferenceSession:
    """Open a session; without an arena it is slower, and holds no more than it uses."""
    _machine.give_back()  # of a large model gigabytes of PyTorch's and of sessions before
    made = options(_machine.cores())
    made.enable_cpu_mem_arena = arena
    opened = partial(ort.InferenceSession, sess_options=made, providers=["CPUExecutionProvider"])
    if storing.size(model) < storing.LENT_FROM:
        return opened(model.SerializeToString())
    with tempfile.TemporaryDirectory(prefix="demur-export-") as folder:
        path = Path(folder) / "model.onnx"
        storing.lend(path, model)
        return opened(str(path))
