"""What a user chooses of an export, and the manifest that it begins with."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import demur
from demur._catalogue import Entry
from demur_export import walk
from demur_export.checkpoint import Checkpoint


@dataclass(frozen=True)
class Options:
    """What a user chooses.

    Attributes:
        source: The checkpoint's folder.
        out: The bundle's folder.
        recipe: `auto`, or one of `quantize.RECIPES`.
        accept: Whether to keep the nearest bundle even if the recipe falls short of the gate.
        template: A template's name or file; None to recognise it.
        texts: Conversations to calibrate on and compare with, added to demur's own; with a vocabulary they take the
            place of demur's own.
        vocabulary: Conversations whose pieces the vocabulary is pruned to; None to leave it whole.
        padded: Whether the graph takes padded texts and a mask, as CUDA gains by.
        interop: Whether to add the folder that other clients read.
        name: The bundle's name; None for the out folder's.
        notes: Markdown for the card.
        entry: What the catalogue says of the checkpoint, if it was asked for by its name there.
    """

    source: Path
    out: Path
    recipe: str = walk.AUTO
    accept: bool = False
    template: str | None = None
    texts: Path | None = None
    vocabulary: Path | None = None
    padded: bool = False
    interop: bool = False
    name: str | None = None
    repository: str | None = None
    revision: str | None = None
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    model_version: str = "1"
    notes: str = ""
    entry: Entry | None = None


def begin(options: Options, source: Checkpoint, template: dict[str, Any]) -> dict[str, Any]:
    """Return what `demur.json` says before anything is made.

    Args:
        options: What the user chose.
        source: The checkpoint.
        template: How it writes conversations.
    """
    return {
        "name": options.name or options.out.name,
        "version": options.model_version,
        "source": {"repository": options.repository or options.source.resolve().name, "revision": options.revision},
        "licence": options.licence,
        "languages": list(options.languages),
        "architecture": source.architecture,
        "parameters": source.parameters,
        "recipe": options.recipe,
        "max_tokens": source.max_tokens,
        "labels": list(source.labels),
        "refusal": source.refusal,
        "template": template,
        "operating_points": source.operating_points,
        "files": {},
        "parity": None,
        "exported": {
            "demur": demur.__version__,
            **{name: version(name) for name in ("optimum-onnx", "torch", "transformers", "onnx", "onnxruntime")},
        },
    }
