"""Sessions of bundles with many weights, from what an earlier process has made ready to run."""

import platform
from pathlib import Path
from typing import Any

import onnxruntime as ort

from demur import _cache, _device, _machine, _session
from demur._bundle import Bundle

# Have a session written as it is when it is ready to run, with the weights as this processor multiplies them.
PREPACKED = {
    "session.save_external_prepacked_constant_initializers": "1",
    "session.optimized_model_external_initializers_file_name": _cache.WEIGHTS,
    "session.optimized_model_external_initializers_min_size_in_bytes": "4096",
}


def session(bundle: Bundle, options: ort.SessionOptions) -> ort.InferenceSession | None:
    """Return a session on the CPU whose weights are mapped as the processor multiplies them.

    Args:
        bundle: One whose weights have a file of their own.
        options: For the session.

    Returns:
        None where nothing can be kept, or where there is nothing in it: the bundle's own graph does as well.
    """
    # All that decides what is ready to run; the graph's sha256 covers its weights.
    key = {
        "bundle": bundle.model.sha256,
        "onnxruntime": _session.version(),
        "machine": platform.machine(),
        "instruction_sets": list(_machine.instruction_sets()),
        "exact_int8": _machine.int8_saturates(),
    }
    ready = _cache.graph(key, 3 * bundle.size, lambda folder: _write(bundle, folder))
    if ready is None:
        return None
    try:
        return _open(ready, options)
    except Exception:  # the bundle itself may yet do
        _cache.forget(ready)
        return None


def _write(bundle: Bundle, folder: Path) -> bool:
    """Write what is ready to run, and tell whether any weight was put in another order for it."""
    assert bundle.weights is not None
    # subtle: damaged weights would outlive the repair of the bundle, which may be loading with them this moment.
    bundle.check_sums()
    options = _session.options(1)
    options.optimized_model_filepath = str(folder / _cache.GRAPH)
    for key, value in PREPACKED.items():
        options.add_session_config_entry(key, value)
    _open(bundle.model.path, options)
    return (folder / _cache.WEIGHTS).stat().st_size > 1.1 * bundle.weights.bytes


def _open(graph: Path, options: ort.SessionOptions) -> Any:
    return ort.InferenceSession(str(graph), options, providers=[_device.PROVIDERS["cpu"]])
