"""Where a graph can run, and what tells whether this onnxruntime can run it there."""

import onnxruntime as ort

from demur.errors import DeviceError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# An int8 product has no CUDA kernel: such a graph would run on the CPU under CUDA's name.
_CUDA_RECIPES = ("fp32", "fp16")
# The two packages share a folder, so that of the one for CUDA has to be written last.
_CUDA_PIP = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"


def providers() -> list[str]:
    """Return the providers that this onnxruntime offers."""
    return list(ort.get_available_providers())


def check(device: str, recipe: str) -> None:
    """Raise unless this onnxruntime offers the device, and bundles of the recipe run there.

    Raises:
        DeviceError: It doesn't, or they don't.
    """
    if device not in PROVIDERS:
        raise DeviceError(f"device {device!r} is unknown; use one of {', '.join(map(repr, PROVIDERS))}")
    if device == "cuda":
        if recipe not in _CUDA_RECIPES:
            raise DeviceError(
                f"a bundle of recipe {recipe} runs on the CPU only; for CUDA export one with --recipe fp32 --padded, "
                "or use device='cpu'"
            )
        if PROVIDERS[device] not in providers():
            raise DeviceError(
                f"this onnxruntime offers {', '.join(providers())} and no {PROVIDERS[device]}; "
                f"{_CUDA_PIP}, or use device='cpu'"
            )
