"""What is compared on one stand-in, by name, and how each is opened. It imports torch and onnxruntime where needed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
Side = Callable[[Ids], Logits]

DEMUR, ROW, WEIGHTS, BLOCKS, INT8, TORCH = (
    "demur",
    "int8_row",
    "int8_weights",
    "matmulnbits_4",
    "optimum_int8",
    "pytorch",
)


def texts(bundle: Path) -> list[Ids]:
    """Return the ids `[1, n]` that the bundle reads of each of the gate's conversations."""
    from demur_export import corpus, pipeline

    return pipeline._ids(bundle, corpus.gate(None))


def opened(side: str, path: Path) -> Side:
    """Return what computes the logits of ids, with one thread.

    Args:
        side: demur's and its recipes run in demur's session options, optimum's graph in onnxruntime's own.
        path: The graph; PyTorch's checkpoint.
    """
    if side == TORCH:
        return _torch(path)
    import onnxruntime

    from demur import _session

    if side == INT8:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
    else:
        options = _session.options(1)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(ids: Ids) -> Logits:
        others = {"attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        feed = {name: others.get(name, ids) for name in names}
        found: Logits = session.run([_session.OUTPUT], feed)[0]
        return found

    return run


def _torch(checkpoint: Path) -> Side:
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(1)
    kind = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["model_type"]
    # As demur_export.reference has it: transformers compiles ModernBERT wherever Triton is installed.
    extra = {"reference_compile": False} if kind == "modernbert" else {}
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, torch_dtype=torch.float32, **extra).eval()

    def run(ids: Ids) -> Logits:
        given = torch.from_numpy(ids)
        with torch.inference_mode():
            found: Logits = model(input_ids=given, attention_mask=torch.ones_like(given)).logits.numpy()
        return found

    return run
