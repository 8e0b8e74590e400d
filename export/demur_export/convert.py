"""Checkpoint to fp32 ONNX, through optimum."""

import contextlib
import io
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from optimum.exporters.onnx import main_export

from demur_export import transformers_4
from demur_export.checkpoint import Checkpoint

_OPSET = 17
# What optimum calls the graph in its folder.
_FILE = "model.onnx"


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Return the checkpoint as optimum exports it: fp32, with mask and token types, not yet demur's graph."""
    with tempfile.TemporaryDirectory(prefix="demur-export-") as folder:
        _export(checkpoint, folder)
        return onnx.load(Path(folder) / _FILE)


def write(checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint to `path` as optimum exports it, and beside it what a single file can't hold."""
    with tempfile.TemporaryDirectory(prefix="demur-export-") as folder:
        _export(checkpoint, folder)
        shutil.move(Path(folder) / _FILE, path)
        # subtle: the graph names the file of its weights, so that keeps its name.
        for weights in Path(folder).glob(f"{_FILE}_data*"):
            shutil.move(weights, path.parent / weights.name)


def _export(checkpoint: Checkpoint, folder: str) -> None:
    with transformers_4.folder(checkpoint.folder, checkpoint.config) as source, _quiet():
        main_export(
            str(source),
            output=folder,
            task="text-classification",
            opset=_OPSET,
            device="cpu",
            dtype="fp32",
            do_validation=False,  # demur compares with PyTorch itself, on real texts
            no_post_process=True,
            local_files_only=True,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's tracing notes off the terminal; errors still come through as exceptions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
