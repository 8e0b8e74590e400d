"""Token ids to logits: what runs a bundle's graph in `onnxruntime`."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import onnxruntime as ort

from demur import _device, _machine
from demur._background import Background
from demur._bundle import Bundle
from demur.errors import DeviceError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

INPUT = "token_ids"
# The second input of a graph that takes padded texts: 1 where a token is real, 0 where it pads.
MASK = "attention_mask"
OUTPUT = "logits"
# The graph's own record of how many tokens it has positions for.
LIMIT = "max_tokens"
# The graph's own record of the sha256 of the file that its weights are in.
WEIGHTS = "weights_sha256"

# The configuration keys that demur sets. onnxruntime takes a misspelt key without a word, so a test looks each of them
# up in the library itself.
#
# Threads of a run spin while they wait for their next part, which is faster by a quarter on short texts, and sleep
# between runs.
RESTING = {"session.force_spinning_stop": "1", "session.inter_op.allow_spinning": "0"}
# Where each thread may run, by the processors' numbers from 1; without the caller's, which onnxruntime doesn't start.
PLACES = "session.intra_op_thread_affinities"
EXACT_INT8 = {"session.x64quantprecision": "1"}

# Bytes of weights from which on they are also kept as the processor multiplies them. Of fewer a process has its own.
READY_FROM = 100_000_000


class Session(Protocol):
    """What turns token ids into logits. `demur.testing.FakeSession` is another one."""

    @property
    def masked(self) -> bool:
        """Whether rows may be padded, and a mask tells where."""
        ...

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits `[batch, labels]` for `token_ids` `[batch, n]`.

        Without a mask every row is of n real tokens; `mask` `[batch, n]` is 1 where a token is real and 0 behind the
        last one of its row.
        """
        ...


class OnnxSession:
    """A bundle's graph in onnxruntime. Safe to share among threads; a forked child opens it anew.

    Weights that have a file of their own are mapped into memory. onnxruntime keeps a copy of most, in the order in
    which the processor multiplies them. Where they are many (`READY_FROM`), the first session on a machine writes these
    too (`demur._ready`), and every session maps what was written.

    Args:
        bundle: The bundle: its recipe decides where the graph can run, its labels and limit must be the graph's.
        device: `cpu` or `cuda`.
        threads: Threads for one run.
        cached: Whether to write and to map what is ready to run.

    Raises:
        DeviceError: The device asked for is not the one that would run.
        ModelError: The file is no graph, or not one with a bundle's input, outputs and limit.
    """

    def __init__(self, bundle: Bundle, device: str, threads: int, cached: bool = True) -> None:
        self._bundle, self._device, self._threads = bundle, device, threads
        self._path = bundle.model.path
        large = bundle.weights is not None and bundle.weights.bytes >= READY_FROM
        self._cached = cached and device == "cpu" and large
        _device.check(device, bundle.recipe)
        self._lock = threading.Lock()
        self._abandoned: list[Any] = []
        self._open()

    @property
    def masked(self) -> bool:
        """Whether the graph takes padded rows: one that was exported for CUDA does."""
        return self._masked

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits float32 `[batch, labels]` for `token_ids` int64 `[batch, n]`, padded where `mask` is 0.

        Raises:
            ValueError: There is a mask, and the graph takes none.
        """
        if self._pid != os.getpid():
            self._reopen()
        feed = {INPUT: token_ids}
        if self._masked:
            feed[MASK] = np.ones_like(token_ids) if mask is None else mask
        elif mask is not None:
            raise ValueError(f"{self._path}: this graph takes no mask; run rows of real tokens alone")
        logits: NDArray[np.float32] = self._session.run([OUTPUT], feed)[0]
        return logits

    def _open(self) -> None:
        provider = _device.PROVIDERS[self._device]
        if self._device == "cuda" and hasattr(ort, "preload_dlls"):
            ort.preload_dlls()  # CUDA's libraries as pip installs them, where no search path leads
        try:
            session = self._create(provider)
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise ModelError(f"{self._path}: onnxruntime can't load this graph ({error})") from error
        if session.get_providers()[0] != provider:
            raise DeviceError(
                f"{self._path}: {provider} was asked for, but onnxruntime would run "
                f"{', '.join(session.get_providers())}; check the driver and CUDA libraries, or use device='cpu'"
            )
        inputs, outputs = [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()]
        if inputs not in ([INPUT], [INPUT, MASK]) or outputs != [OUTPUT]:
            raise ModelError(
                f"{self._path}: a bundle's graph has the input {INPUT}, for CUDA also {MASK}, and the output {OUTPUT}, "
                f"this one has inputs {inputs} and outputs {outputs}; make bundles with demur-export"
            )
        self._check_manifest(session)
        self._session, self._masked, self._pid = session, MASK in inputs, os.getpid()
        # A graph is parsed into many small pieces whose places nothing else fills: 7 MB of demur-mini's process.
        _machine.give_back()

    def _create(self, provider: str) -> ort.InferenceSession:
        """Create the session, from what is ready to run where that can be had."""
        made = options(self._threads)
        if self._cached:
            from demur import _ready  # of small bundles nothing is kept, and they load without what keeping takes

            if (ready := _ready.session(self._bundle, made)) is not None:
                return ready
        return ort.InferenceSession(str(self._path), made, providers=[provider])

    def _check_manifest(self, session: ort.InferenceSession) -> None:
        labels, named = session.get_outputs()[0].shape[-1], len(self._bundle.labels)
        if isinstance(labels, int) and labels != named:
            raise ModelError(f"{self._path}: the graph has {labels} outputs, but the manifest names {named} labels")
        facts, max_tokens = session.get_modelmeta().custom_metadata_map, self._bundle.max_tokens
        if LIMIT in facts and int(facts[LIMIT]) < max_tokens:
            raise ModelError(
                f"{self._path}: the graph reads {facts[LIMIT]} tokens, but the manifest's max_tokens is {max_tokens}"
            )
        weights = self._bundle.weights
        if facts.get(WEIGHTS) != (weights.sha256 if weights else None):
            raise ModelError(
                f"{self._path}: the graph is for weights of sha256 {facts.get(WEIGHTS)}, but the manifest records "
                f"{weights.sha256 if weights else None}; copy the bundle again"
            )

    def _reopen(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                # subtle: the parent's session has threads that do not exist in this process; destroying it here
                # would wait for them forever, so it is kept and never used.
                self._abandoned.append(self._session)
                self._open()


def begin(open_session: Callable[[int], Session], threads: int) -> Background[Session]:
    """Begin to open a session, beside what else there is to load.

    Args:
        open_session: Opens one of so many threads.
        threads: How many, if as many are granted here: a pickled classifier may be opened on a smaller machine.
    """
    return Background("demur-session", partial(open_session, _machine.granted(threads)))


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
    # subtle: to plan which tensors can share memory, every one is compared with all before it: 75 of 117 ms of loading
    # demur-mini, for nothing, since what is no longer needed goes back to the arena anyway.
    made.enable_mem_reuse = False
    config = RESTING | _places(threads, _machine.scheduled())
    if _machine.int8_saturates() if saturating is None else saturating:
        config |= EXACT_INT8
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    else:
        made.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in config.items():
        made.add_session_config_entry(key, value)
    return made


def _places(threads: int, scheduled: Sequence[int]) -> dict[str, str]:
    """Return the configuration that gives each thread a processor, where there is one for each and no more.

    A thread that is woken for a run is often put on the processor of the caller, on virtual machines that don't show
    which of their processors are idle; the two then take turns of milliseconds, and a text of 16 tokens takes twice as
    long. Where there are more processors than threads, other processes may have them: there it is the system's choice.
    """
    if threads == 1 or threads != len(scheduled):
        return {}
    return {PLACES: ";".join(str(number + 1) for number in scheduled[1:])}


def version() -> str:
    """Return onnxruntime's version."""
    return str(ort.__version__)
