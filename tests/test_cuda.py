"""On a machine with an NVIDIA GPU and onnxruntime-gpu: the device asked for runs, and agrees with the CPU."""

from pathlib import Path

import onnxruntime as ort
import pytest

import demur

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in ort.get_available_providers(), reason="this onnxruntime has no CUDA"
    ),
]


@pytest.mark.parametrize("padded", [False, True])
def test_cuda_agrees_with_the_cpu(tmp_path: Path, padded: bool) -> None:
    pytest.importorskip("torch")
    import _checkpoints

    from demur_export.options import Options
    from demur_export.pipeline import export

    export(Options(_checkpoints.bert(tmp_path / "source"), tmp_path / "out", recipe="fp32", padded=padded))
    on_cpu, on_gpu = (demur.load(tmp_path / "out", device=device) for device in ("cpu", "cuda"))
    texts = ["sorry", "the answer is that you can", "help " * 100]
    expected = [on_cpu.check(text).score for text in texts]
    assert [on_gpu.check(text).score for text in texts] == pytest.approx(expected, abs=1e-3)
    assert [verdict.score for verdict in on_gpu.stream(texts)] == pytest.approx(expected, abs=1e-3)
