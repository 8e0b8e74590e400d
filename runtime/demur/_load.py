"""A name or a folder to a classifier."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from demur import _bundle, _machine
from demur._background import Background
from demur._bundle import Bundle

if TYPE_CHECKING:
    from demur._classifier import Classifier

# Tokens to a run on a GPU, padding included. Attention that takes a mask holds a weight for each pair of a text's
# tokens: of 32 texts of 512 tokens and 12 heads that is 0.4 GB in fp32, of two of 8,192 and 16 heads 8.6 GB.
_RUN_TOKENS = 16_384


def load(
    model: str | Path | None = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    threshold: float | str | None = None,
    verify: bool = True,
) -> Classifier:
    """Load a bundle.

    Args:
        model: A bundle's name or folder; by default the one that comes with demur.
        device: `cpu` or `cuda`. On a GPU `stream` judges many texts at once; a text's score may then differ in its
            last digits with what shares its run.
        threads: Threads for one text; by default, and at most, the cores that this machine grants, and by default
            one on a GPU.
        threshold: The score from which a reply counts as a refusal: a probability, or the name of one of the
            bundle's operating points; by default the bundle's `balanced`.
        verify: Compare the files' sha256 with the recorded ones (in the background of loading).

    Raises:
        BundleError: The bundle can't be used; see `demur.errors` for the kinds.
        DeviceError: The device asked for is not the one that would run.
        ValueError: `threads` or `threshold` is out of its range.
    """
    return load_bundle(
        _bundle.read(_bundle.find(model)), device=device, threads=threads, threshold=threshold, verify=verify
    )


def load_bundle(
    bundle: Bundle,
    *,
    device: str = "cpu",
    threads: int | None = None,
    threshold: float | str | None = None,
    verify: bool = True,
) -> Classifier:
    """Load a bundle whose `demur.json` has been read; the rest is as for `load`."""
    if threads is None:
        threads = 1 if device == "cuda" else _machine.cores()
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be at least 1")
    at = _threshold(bundle, threshold)
    run_tokens = _RUN_TOKENS if device == "cuda" else None
    sums = Background("demur-sums", bundle.check_sums) if verify else None
    try:
        # subtle: imported here, since the files' sums are taken while numpy and onnxruntime are imported, and the
        # session is opened while the rest is.
        from demur._session import OnnxSession, begin

        open_session = partial(OnnxSession, bundle, device)
        session = begin(open_session, threads)
        from demur._assemble import assemble

        return assemble(bundle, open_session, threads=threads, threshold=at, run_tokens=run_tokens, session=session)
    finally:
        # subtle: a changed file often fails to load too; that its contents changed is the better message.
        if sums is not None:
            sums.result()


def threshold_of(text: str) -> float | str:
    """Return a threshold that was written as text: a number, or else the name of an operating point."""
    try:
        return float(text)
    except ValueError:
        return text


def _threshold(bundle: Bundle, threshold: float | str | None) -> float:
    if threshold is None:
        threshold = "balanced"
    if isinstance(threshold, str):
        if threshold not in bundle.operating_points:
            raise ValueError(
                f"threshold is {threshold!r}; {bundle.name} has the operating points "
                f"{', '.join(bundle.operating_points)}, or give a number from 0 to 1"
            )
        return float(bundle.operating_points[threshold])
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; it must be from 0 to 1")
    return float(threshold)
