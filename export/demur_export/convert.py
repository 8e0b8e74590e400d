"""Checkpoint to fp32 ONNX, through optimum."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from optimum.exporters.onnx import main_export

from demur_export import transformers_4
from demur_export.checkpoint import Checkpoint

_OPSET = 17


def to_onnx(checkpoint: Checkpoint) -> onnx.ModelProto:
    """Return the checkpoint as optimum exports it: fp32, with mask and token types, not yet demur's graph."""
    with (
        transformers_4.folder(checkpoint.folder, checkpoint.config) as source,
        tempfile.TemporaryDirectory(prefix="demur-export-") as folder,
        _quiet(),
    ):
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
        return onnx.load(Path(folder) / "model.onnx")


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
