"""The session: the keys that are set exist, and the device asked for is the one that runs."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import demur
from demur import _machine, _ready, _session
from demur._bundle import find, read
from demur._session import OnnxSession
from demur.errors import DeviceError, ModelError


@pytest.mark.parametrize("key", sorted({*_session.RESTING, *_session.EXACT_INT8, *_ready.PREPACKED, _session.PLACES}))
def test_every_configuration_key_is_one_that_onnxruntime_knows(key: str) -> None:
    libraries = [p for p in Path(ort.__file__).parent.glob("capi/*") if ".so" in p.name or p.suffix in (".pyd", ".dll")]
    assert any(key.encode() in library.read_bytes() for library in libraries)


def test_a_misspelt_key_is_accepted_without_a_word() -> None:
    """The reason for the test above."""
    made = ort.SessionOptions()
    made.add_session_config_entry("session.intra_op.alow_spinning", "0")


def test_threads_rest_between_runs_and_graphs_are_not_rewritten_where_products_are_exact() -> None:
    made = _session.options(3, saturating=False)
    assert made.get_session_config_entry("session.force_spinning_stop") == "1"
    assert made.graph_optimization_level == ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert made.intra_op_num_threads == 3


def test_loading_plans_nothing_for_lengths_or_values() -> None:
    """Patterns grow with every length that is met; a plan of what shares memory takes most of a session's creation."""
    made = _session.options(1)
    assert not made.enable_mem_pattern
    assert not made.enable_mem_reuse


def test_products_are_made_exact_where_they_would_saturate() -> None:
    made = _session.options(1, saturating=True)
    assert made.get_session_config_entry("session.x64quantprecision") == "1"
    assert made.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def test_the_exact_rewrite_gives_the_same_decisions(model: demur.Classifier) -> None:
    bundle = read(find(None))
    rewritten = ort.InferenceSession(str(bundle.model.path), _session.options(1, saturating=True))
    for text in ("I'm sorry, but I can't help with that.", "The capital of France is Paris."):
        ids = [model.encode(text)]
        found = rewritten.run(["logits"], {"token_ids": ids})[0][0].tolist()
        assert found == pytest.approx(list(model.check(text).logits), abs=0.02)


def test_an_unknown_device_is_an_error() -> None:
    with pytest.raises(DeviceError, match="'gpu' is unknown; use one of 'cpu', 'cuda'"):
        demur.load(device="gpu")


def test_an_int8_bundle_never_pretends_to_run_on_cuda() -> None:
    with pytest.raises(DeviceError, match=r"recipe int8-row runs on the CPU only.*--recipe fp32"):
        demur.load(device="cuda")


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_cuda_without_its_provider_is_an_error_with_the_pip_line() -> None:
    bundle = read(find(None))
    with pytest.raises(
        DeviceError, match=r"no CUDAExecutionProvider; pip uninstall.*pip install 'onnxruntime-gpu.*device='cpu'"
    ):
        OnnxSession(replace(bundle, recipe="fp32"), "cuda", 1)


def test_labels_that_the_graph_has_not_are_an_error() -> None:
    bundle = read(find(None))
    with pytest.raises(ModelError, match="the graph has 2 outputs, but the manifest names 3 labels"):
        OnnxSession(replace(bundle, labels=("a", "b", "c")), "cpu", 1)


def test_more_tokens_than_the_graph_reads_are_an_error() -> None:
    bundle = read(find(None))
    with pytest.raises(ModelError, match="the graph reads 512 tokens, but the manifest's max_tokens is 8192"):
        OnnxSession(replace(bundle, max_tokens=8192), "cpu", 1)


@pytest.mark.skipif(len(_machine.scheduled()) < 2, reason="one processor")
def test_each_thread_has_a_processor_where_there_is_one_for_each(model: demur.Classifier) -> None:
    """Else a thread that is woken may share the caller's, and every other short text takes milliseconds more."""

    def places(threads: int) -> list[set[int]]:
        before = set(os.listdir("/proc/self/task"))
        session = OnnxSession(read(find(None)), "cpu", threads)
        session.run(np.array([model.encode("I'm sorry.")], np.int64))
        return [os.sched_getaffinity(int(task)) for task in set(os.listdir("/proc/self/task")) - before]

    processors = _machine.scheduled()
    assert sorted(places(len(processors)), key=min) == [{number} for number in processors[1:]]
    assert places(1) == []
    # With fewer threads than processors, others may be on any of these.
    assert all(place == set(processors) for place in places(len(processors) - 1))


def test_threads_are_placed_by_the_processors_that_are_granted() -> None:
    assert _session._places(3, (2, 5, 7)) == {_session.PLACES: "6;8"}
    assert _session._places(2, (2, 5, 7)) == _session._places(1, (4,)) == _session._places(4, ()) == {}


def test_no_processor_time_is_used_between_runs(model: demur.Classifier) -> None:
    """Threads that went on spinning would use tens of milliseconds of it after every run."""
    session = OnnxSession(read(find(None)), "cpu", 2)
    ids = np.array([model.encode("I'm sorry, but I can't help with that.")], np.int64)
    for _ in range(3):
        session.run(ids)
        start = time.process_time()
        time.sleep(0.3)
        used = time.process_time() - start
        if used < 0.005:
            return
    raise AssertionError(f"{1000 * used:.1f} ms in 300")
