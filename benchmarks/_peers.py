"""What demur's speed is compared with, each built as its own documentation says and given the same threads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import _openvino
import demur
from demur import _machine, _session
from demur._bundle import Bundle

Judge = Callable[[str], object]

TRANSFORMERS, FP32, INT8, DEMUR, BARE = "transformers", "optimum_fp32", "optimum_int8", "demur", "bare"
TORCH_BF16 = "transformers_bf16"
OV_BF16, OV_INT8 = "openvino_bf16", "openvino_int8"
NAMES = {
    TRANSFORMERS: "transformers pipeline",
    TORCH_BF16: "transformers pipeline, bf16",
    FP32: "optimum pipeline, fp32",
    INT8: "optimum pipeline, int8",
    OV_BF16: "OpenVINO, bf16",
    OV_INT8: "OpenVINO, int8",
    DEMUR: "demur",
    BARE: "bare session",
}
COLOURS = {
    TRANSFORMERS: "#c8321e",
    TORCH_BF16: "#7a1f12",
    FP32: "#d9760a",
    INT8: "#8a3fa0",
    OV_BF16: "#4a8c3f",
    OV_INT8: "#9ab82a",
    DEMUR: "#1f4e9c",
    BARE: "#777777",
}
PACKAGES = {
    TRANSFORMERS: ("torch", "transformers"),
    TORCH_BF16: ("torch", "transformers"),
    FP32: ("optimum-onnx",),
    INT8: ("optimum-onnx",),
    OV_BF16: ("openvino",),
    OV_INT8: ("openvino", "nncf"),
}
# A peer that is run in several ways is as fast as the fastest of them.
WAYS = {TRANSFORMERS: (TRANSFORMERS, TORCH_BF16)}


def packages(names: Iterable[str]) -> list[str]:
    """Return the distributions whose versions a figure of these peers has to be read with."""
    return list(dict.fromkeys(package for name in names for package in PACKAGES.get(name, ())))


def build(
    checkpoint: Path,
    bundle: Bundle,
    threads: int,
    texts: Sequence[str],
    folder: Path,
    names: Sequence[str] = tuple(NAMES),
) -> tuple[dict[str, Judge], dict[str, str]]:
    """Return what judges a text, by name, and for each peer that is absent the reason.

    Args:
        checkpoint: What the bundle was made from.
        bundle: demur's.
        threads: Threads of each.
        texts: All that the bare session will be asked for; OpenVINO is calibrated on some of them.
        folder: Where optimum's graphs may be written.
        names: Which peers.
    """
    fp32 = cache(lambda: export(checkpoint, folder / "fp32"))
    builders: dict[str, Callable[[], Judge]] = {
        TRANSFORMERS: lambda: transformers_pipeline(checkpoint, threads),
        TORCH_BF16: lambda: transformers_bf16(checkpoint, threads),
        FP32: lambda: optimum_pipeline(checkpoint, fp32(), threads),
        INT8: lambda: optimum_pipeline(checkpoint, quantise(fp32(), folder / "int8"), threads),
        OV_BF16: lambda: _openvino.bf16(checkpoint, fp32(), threads),
        OV_INT8: lambda: _openvino.int8(checkpoint, fp32(), threads, texts),
        DEMUR: lambda: demur.load(bundle.folder, threads=threads).check_text,
        BARE: lambda: bare(bundle, threads, texts),
    }
    judges, absent = {}, {}
    for name in names:
        try:
            judges[name] = builders[name]()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            if name in (DEMUR, BARE):
                raise
            absent[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return judges, absent


def transformers_pipeline(checkpoint: Path, threads: int) -> Judge:
    """Return PyTorch's fp32 pipeline."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(threads)
    made: Judge = pipeline("text-classification", model=str(checkpoint), tokenizer=str(checkpoint), device="cpu")
    return made


def transformers_bf16(checkpoint: Path, threads: int) -> Judge:
    """Return PyTorch's pipeline in bf16.

    Raises:
        RuntimeError: The processor has no products of bf16: PyTorch would compute them in fp32, and convert.
    """
    import torch

    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        raise RuntimeError("this processor has no bf16 instructions")
    made: Any = transformers_pipeline(checkpoint, threads)
    made.model.to(torch.bfloat16)
    judge: Judge = made
    return judge


def export(checkpoint: Path, folder: Path) -> Path:
    """Write optimum's fp32 graph and return its path."""
    from optimum.onnxruntime import ORTModelForSequenceClassification

    ORTModelForSequenceClassification.from_pretrained(checkpoint, export=True).save_pretrained(folder)
    return folder / "model.onnx"


def int8_target() -> str:
    """Return the name of optimum's quantisation settings for this machine."""
    return "avx512_vnni" if "avx512_vnni" in _machine.instruction_sets() else "avx2"


def quantise(graph: Path, folder: Path) -> Path:
    """Write optimum's int8 graph of an fp32 one and return its path."""
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    settings = getattr(AutoQuantizationConfig, int8_target())(is_static=False, per_channel=True)
    ORTQuantizer.from_pretrained(graph.parent).quantize(save_dir=folder, quantization_config=settings)
    return folder / "model_quantized.onnx"


def optimum_pipeline(checkpoint: Path, graph: Path, threads: int) -> Judge:
    """Return optimum's pipeline of a graph, with onnxruntime's defaults but for the threads."""
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSequenceClassification, pipeline
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = ORTModelForSequenceClassification.from_pretrained(
        graph.parent, file_name=graph.name, session_options=options
    )
    made: Judge = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(checkpoint))
    return made


def bare(bundle: Bundle, threads: int, texts: Iterable[str]) -> Judge:
    """Return demur's own graph in demur's own session options, fed with ids made beforehand: the floor."""
    import onnxruntime

    model = demur.load(bundle.folder, threads=threads)
    ids = {text: {_session.INPUT: np.array([model.encode({"text": text})], np.int64)} for text in texts}
    session = onnxruntime.InferenceSession(
        str(bundle.model.path), _session.options(threads), providers=["CPUExecutionProvider"]
    )

    def judge(text: str) -> Any:
        return session.run([_session.OUTPUT], ids[text])

    return judge


def same_ids(text: str, ids: list[int], judges: Mapping[str, Judge]) -> None:
    """Make sure that a text is the same tokens to every peer as it is to demur.

    Raises:
        ValueError: It is not.
    """
    for name, judge in judges.items():
        tokenizer = getattr(judge, "tokenizer", None)
        if tokenizer is not None and tokenizer(text)["input_ids"] != ids:
            raise ValueError(f"{NAMES[name]} reads other ids than demur in a text of {len(ids)} tokens")


def check_ids(texts: dict[int, list[str]], judges: dict[str, Judge], bundle: Bundle) -> None:
    """Make sure that each text is as many tokens as its length says, and the same ones to every peer.

    Raises:
        ValueError: It is not.
    """
    model = demur.load(bundle.folder)
    for tokens, of_length in texts.items():
        for text in of_length:
            ids = model.encode({"text": text})
            if len(ids) != tokens or model.check_text(text).elided:
                raise ValueError(f"a text of {tokens} tokens is {len(ids)} to demur")
            same_ids(text, ids, judges)
