"""Checkpoints of ModernBERT and the graphs that are made of them, each once a module."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _modernbert
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from demur_export import checkpoint
from demur_export.pipeline import BUILDERS

LAYERS = 4
PRODUCTS = 7 * LAYERS + 1  # query, key, value, out, up, gate, down, and the head
# Four layers of which the first and the last see all tokens; a window of 8 to either side.
SMALL: dict[str, Any] = {}
VARIANTS: dict[str, dict[str, Any]] = {
    "mean": SMALL,
    "cls": {"classifier_pooling": "cls"},
    "cls behind a local layer": {"classifier_pooling": "cls", "num_hidden_layers": 5},
    "published window": {"local_attention": 128, "num_hidden_layers": 2},
    "biases": {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    "one theta": {"local_rope_theta": None, "global_rope_theta": 500.0, "num_hidden_layers": 2},
    "global layers alone": {"global_attn_every_n_layers": 1, "num_hidden_layers": 2},
}


def read(folder: Path, **changes: Any) -> checkpoint.Checkpoint:
    return checkpoint.read(_modernbert.modernbert(folder, **changes))


def build(source: checkpoint.Checkpoint) -> onnx.ModelProto:
    return BUILDERS["modernbert"](source)


Make = Callable[..., tuple[checkpoint.Checkpoint, onnx.ModelProto]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Gives a checkpoint and its graph, each made once."""
    made: dict[str, tuple[checkpoint.Checkpoint, onnx.ModelProto]] = {}

    def of(**changes: Any) -> tuple[checkpoint.Checkpoint, onnx.ModelProto]:
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            source = read(tmp_path_factory.mktemp("checkpoint"), **changes)
            made[key] = source, build(source)
        return made[key]

    return of


@pytest.fixture(scope="module")
def source(make: Make) -> checkpoint.Checkpoint:
    return make(**SMALL)[0]


@pytest.fixture(scope="module")
def tuned(make: Make) -> onnx.ModelProto:
    return make(**SMALL)[1]


def texts(lengths: list[int], seed: int = 0) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(5, 400, (1, n)).astype(np.int64) for n in lengths]


@pytest.fixture(scope="module")
def calibration() -> list[NDArray[np.int64]]:
    return texts([4, 9, 16, 25, 40, 60, 80, 200] * 4)


def assert_equal(found: NDArray[np.float32], true: NDArray[np.float32]) -> None:
    """Equal to 1e-4 of the largest logit of each text."""
    assert np.all(np.abs(found - true).max(1) <= 1e-4 * np.abs(true).max(1))
