"""Token ids to logits. The only module that imports `onnxruntime`."""

import os
import threading
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from demur import _machine
from demur._bundle import Bundle
from demur.errors import DeviceError, ModelError

INPUT = "token_ids"
OUTPUT = "logits"
# The graph's own record of how many tokens it has positions for.
LIMIT = "max_tokens"

# Every configuration key that demur sets. onnxruntime takes a misspelt key without a word, so a test looks
# each of them up in the library itself.
NO_SPINNING = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
EXACT_INT8 = {"session.x64quantprecision": "1"}

# An int8 product has no CUDA kernel: such a graph would run on the CPU under CUDA's name.
_CUDA_RECIPES = ("fp32", "fp16")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Session(Protocol):
    """What turns token ids into logits. `demur.testing.FakeSession` is another one."""

    def run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return logits `[batch, labels]` for `token_ids` `[batch, n]`, every row of n real tokens."""
        ...


class OnnxSession:
    """A bundle's graph in onnxruntime. Safe to share among threads; a forked child opens it anew.

    Args:
        bundle: The bundle: its recipe decides where the graph can run, its labels and limit must be the graph's.
        device: `cpu` or `cuda`.
        threads: Threads for one run.

    Raises:
        DeviceError: The device asked for is not the one that would run.
        ModelError: The file is no graph, or not one with a bundle's input, outputs and limit.
    """

    def __init__(self, bundle: Bundle, device: str, threads: int) -> None:
        self._path, self._device, self._threads = bundle.model.path, device, threads
        self._labels, self._max_tokens = len(bundle.labels), bundle.max_tokens
        _check_device(device, bundle.recipe)
        self._lock = threading.Lock()
        self._abandoned: list[Any] = []
        self._open()

    def run(self, token_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return logits float32 `[batch, labels]` for `token_ids` int64 `[batch, n]`."""
        if self._pid != os.getpid():
            self._reopen()
        logits: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: token_ids})[0]
        return logits

    def _open(self) -> None:
        provider = _PROVIDERS[self._device]
        try:
            session = ort.InferenceSession(str(self._path), options(self._threads), providers=[provider])
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise ModelError(f"{self._path}: onnxruntime can't load this graph ({error})") from error
        if session.get_providers()[0] != provider:
            raise DeviceError(
                f"{self._path}: {provider} was asked for, but onnxruntime would run "
                f"{', '.join(session.get_providers())}; check the driver and CUDA libraries, or use device='cpu'"
            )
        found = ([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])
        if found != ([INPUT], [OUTPUT]):
            raise ModelError(
                f"{self._path}: a bundle's graph has the input {INPUT} and the output {OUTPUT}, "
                f"this one has inputs {found[0]} and outputs {found[1]}; make bundles with demur-export"
            )
        self._check_manifest(session)
        self._session, self._pid = session, os.getpid()

    def _check_manifest(self, session: ort.InferenceSession) -> None:
        labels = session.get_outputs()[0].shape[-1]
        if isinstance(labels, int) and labels != self._labels:
            raise ModelError(
                f"{self._path}: the graph has {labels} outputs, but the manifest names {self._labels} labels"
            )
        limit = session.get_modelmeta().custom_metadata_map.get(LIMIT)
        if limit is not None and int(limit) < self._max_tokens:
            raise ModelError(
                f"{self._path}: the graph reads {limit} tokens, but the manifest's max_tokens is {self._max_tokens}"
            )

    def _reopen(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                # subtle: the parent's session has threads that do not exist in this process; destroying it here
                # would wait for them forever, so it is kept and never used.
                self._abandoned.append(self._session)
                self._open()


def options(threads: int, saturating: bool | None = None) -> ort.SessionOptions:
    """Return the session options for `threads` threads.

    Bundles are optimised when they are exported, so loading does no graph work. The one exception is a
    processor on which int8 products saturate (`saturating`, by default this machine's): there onnxruntime has
    to rewrite the products, and does so only among its extended optimisations.
    """
    made = ort.SessionOptions()
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.log_severity_level = 3
    # subtle: a memory pattern is kept for every input length ever seen.
    made.enable_mem_pattern = False
    config = dict(NO_SPINNING)
    if _machine.int8_saturates() if saturating is None else saturating:
        config |= EXACT_INT8
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    else:
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in config.items():
        made.add_session_config_entry(key, value)
    return made


def providers() -> list[str]:
    """Return the providers that this onnxruntime offers."""
    return list(ort.get_available_providers())


def version() -> str:
    """Return onnxruntime's version."""
    return str(ort.__version__)


def _check_device(device: str, recipe: str) -> None:
    if device not in _PROVIDERS:
        raise DeviceError(f"device {device!r} is unknown; use one of {', '.join(map(repr, _PROVIDERS))}")
    if device == "cuda":
        if recipe not in _CUDA_RECIPES:
            raise DeviceError(
                f"a bundle of recipe {recipe} runs on the CPU only; for CUDA export one with --recipe fp32"
            )
        if _PROVIDERS[device] not in providers():
            raise DeviceError(
                f"this onnxruntime offers {', '.join(providers())} and no {_PROVIDERS[device]}; "
                "pip install onnxruntime-gpu in place of onnxruntime"
            )
