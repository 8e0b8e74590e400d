"""OpenVINO as a peer: the checkpoint in bf16, and quantised by NNCF as OpenVINO's documentation says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Texts that NNCF takes ranges from: its own default, `subset_size` of `nncf.quantize`.
CALIBRATED_ON = 300


class OpenVino:
    """Judges a text with a compiled graph and the checkpoint's own tokenizer.

    Args:
        compiled: From `Core.compile_model`.
        checkpoint: Where the tokenizer is.
    """

    def __init__(self, compiled: Any, checkpoint: Path) -> None:
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self._request = compiled.create_infer_request()

    def __call__(self, text: str) -> Any:
        """Return the probabilities of the labels."""
        logits = self._request.infer(encoded(self.tokenizer, text))[0][0]
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()


def encoded(tokenizer: Any, text: str) -> dict[str, Any]:
    """Return a text as the graph's inputs."""
    return dict(tokenizer(text, truncation=True, return_tensors="np"))


def bf16(checkpoint: Path, graph: Path, threads: int) -> OpenVino:
    """Return the fp32 graph run in bf16, which OpenVINO does by itself where the processor has it.

    Raises:
        RuntimeError: The processor has it not: OpenVINO would imitate it, some fifty times slower than fp32.
    """
    import openvino

    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("this processor has no bf16 instructions")
    settings = _settings(threads) | {"INFERENCE_PRECISION_HINT": "bf16"}
    return OpenVino(core.compile_model(core.read_model(graph), "CPU", settings), checkpoint)


def int8(checkpoint: Path, graph: Path, threads: int, texts: Sequence[str]) -> OpenVino:
    """Return the graph with weights and activations in 8 bits, ranges taken from texts all over `texts`."""
    import nncf
    import openvino
    from transformers import AutoTokenizer

    core, tokenizer = openvino.Core(), AutoTokenizer.from_pretrained(checkpoint)
    inputs = [encoded(tokenizer, text) for text in texts[:: max(1, len(texts) // CALIBRATED_ON)]]
    quantised = nncf.quantize(
        core.read_model(graph), nncf.Dataset(inputs), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(inputs)
    )
    return OpenVino(core.compile_model(quantised, "CPU", _settings(threads)), checkpoint)


def _settings(threads: int) -> dict[str, Any]:
    """One text at a time, as OpenVINO's page on performance hints has it."""
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
