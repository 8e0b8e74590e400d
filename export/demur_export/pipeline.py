"""The whole export: checkpoint -> fp32 ONNX -> demur's graph -> recipe -> bundle -> gate."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import demur
from demur import _bundle as demur_bundle
from demur import _machine
from demur._catalogue import Entry
from demur._conversation import Conversation
from demur._reader import Reader
from demur._tokenizer import Tokenizer
from demur_export import bundle, card, catalogue, checkpoint, convert, corpus, parity, templates, vocabulary, walk
from demur_export.checkpoint import Checkpoint
from demur_export.graph import bert, modernbert
from demur_export.graph.parameters import Parameters
from demur_export.quantize import Quantised
from demur_export.reference import torch_logits
from demur_export.run import logits


def _bert(source: Checkpoint) -> onnx.ModelProto:
    return bert.build(convert.to_onnx(source), source.config)


def _modernbert(source: Checkpoint) -> onnx.ModelProto:
    return modernbert.build(Parameters(checkpoint.weights(source.folder)), source.config)


BUILDERS: dict[str, Callable[[Checkpoint], onnx.ModelProto]] = {
    "bert": _bert,
    "roberta": _bert,
    "xlm-roberta": _bert,
    "modernbert": _modernbert,
}
# Every other text calibrates; the gate judges by the rest, which quantisation has not seen.
_CALIBRATION, _UNSEEN = slice(0, None, 2), slice(1, None, 2)


@dataclass(frozen=True)
class Options:
    """What a user chooses.

    Attributes:
        source: The checkpoint's folder.
        out: The bundle's folder.
        recipe: `auto`, or one of `quantize.RECIPES`.
        accept: Whether to keep the nearest bundle even if the recipe falls short of the gate.
        template: A template's name or file; None to recognise it.
        texts: Conversations to calibrate on and compare with; None for demur's own.
        vocabulary: Conversations whose pieces the vocabulary is pruned to; None to leave it whole.
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
    name: str | None = None
    repository: str | None = None
    revision: str | None = None
    licence: str = "unknown"
    languages: tuple[str, ...] = ()
    model_version: str = "1"
    notes: str = ""
    entry: Entry | None = None


def export(options: Options, say: Callable[[str], None] = lambda _: None) -> parity.Parity:
    """Make a bundle.

    Args:
        options: What to make.
        say: Called with a line at each stage.

    Returns:
        How far the bundle is from PyTorch.

    Raises:
        ExportError: The checkpoint can't become a bundle, or the bundle falls short; `out` is as it was then.
    """
    source = checkpoint.read(options.source)
    if options.entry is not None:
        catalogue.check(options.entry, source)
    template = templates.resolve(options.template, source.tokenizer)
    conversations = corpus.read(options.texts)
    pruned_for = corpus.read(options.vocabulary, "a vocabulary") if options.vocabulary else None
    with bundle.folder(options.out) as folder:
        say(f"exporting {source.architecture} with {source.parameters / 1e6:.1f} M weights")
        tuned = BUILDERS[source.architecture](source)
        manifest = _manifest(options, source, template)
        manifest["files"] = bundle.write_model(folder, tuned, source.tokenizer)
        bundle.write_manifest(folder, manifest | {"recipe": "fp32"})
        ids = _ids(folder, conversations)
        say(f"PyTorch on {len(ids)} texts")
        reference = torch_logits(source, ids)
        parity.check_graph(parity.compare(logits(tuned, ids), reference, source.refusal))
        tokenizer = source.tokenizer
        if options.vocabulary and pruned_for:
            pruned = vocabulary.prune(tokenizer, _used(folder, pruned_for))
            say(f"vocabulary of {len(pruned.kept)} entries in the place of {pruned.before}")
            tokenizer = folder / bundle.TOKENIZER
            tokenizer.write_text(pruned.text, encoding="utf-8")
            tuned = vocabulary.select_rows(tuned, pruned)
            manifest["files"] = bundle.write_model(folder, tuned, tokenizer)
            bundle.write_manifest(folder, manifest | {"recipe": "fp32"})
            whole, ids = ids, _ids(folder, conversations)
            manifest["exported"]["vocabulary"] = pruned.record(options.vocabulary, len(pruned_for), whole, ids)
        unseen, true = conversations[_UNSEEN], reference[_UNSEEN]

        def judge(recipe: str, made: Quantised) -> walk.Try:
            manifest["recipe"], manifest["files"] = recipe, bundle.write_model(folder, made.model, tokenizer)
            found = _compare(folder, manifest, unseen, true, source.refusal)
            say(
                f"recipe {recipe}, {made.products} products in 8 bits, {len(made.left)} left in fp32: "
                f"{found.label_flips} label flips, max |dp| {found.max_dp:.4f}, mean |dp| {found.mean_dp:.5f}"
            )
            return walk.Try(recipe, made, manifest["files"]["model"]["bytes"], found)

        taken, tried = walk.walk(options.recipe, tuned, ids[_CALIBRATION], source.refusal, judge)
        if taken is None:
            taken = walk.nearest(tried) if options.accept else None
            if taken is None:
                raise walk.failure(options.recipe, tried, pruned=options.vocabulary is not None)
            if taken is not tried[-1]:
                judge(taken.recipe, taken.made)
        found = taken.parity
        manifest["exported"] |= {
            "products in 8 bits": taken.made.products,
            "products left in fp32": ", ".join(taken.made.left) or "none",
            "inputs smoothed": taken.made.smoothed,
            "inputs with fixed scales": taken.made.fixed,
            "tried": [one.record() for one in tried],
        }
        manifest["parity"] = found.record() | {"within_gate": parity.passes(found), "processor": _machine.processor()}
        bundle.write_manifest(folder, manifest)
        (folder / bundle.CARD).write_text(card.render(manifest, options.notes), encoding="utf-8")
    return found


def _manifest(options: Options, source: Checkpoint, template: dict[str, Any]) -> dict[str, Any]:
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


def _ids(folder: Path, conversations: list[Conversation]) -> list[NDArray[np.int64]]:
    """Token ids `[1, n]` of every conversation, made by the runtime itself."""
    _, reader, _ = _reader(folder)
    return [np.array([reader.read(conversation).ids], np.int64) for conversation in conversations]


def _used(folder: Path, conversations: list[Conversation]) -> set[int]:
    """Ids of the entries that conversations use."""
    read, reader, tokenizer = _reader(folder)
    return vocabulary.used(reader, tokenizer, read.template, conversations)


def _reader(folder: Path) -> tuple[demur_bundle.Bundle, Reader, Tokenizer]:
    read = demur_bundle.read(folder)
    tokenizer = Tokenizer(read.tokenizer.path)
    return read, Reader(read, tokenizer), tokenizer


def _compare(
    folder: Path,
    manifest: dict[str, Any],
    conversations: list[Conversation],
    reference: NDArray[np.float32],
    refusal: int,
) -> parity.Parity:
    """Run the finished bundle through the runtime, as a user would."""
    bundle.write_manifest(folder, manifest)
    model = demur.load(folder)
    verdicts = [model.judge_row(conversation) for conversation in conversations]
    return parity.compare(np.array([v.logits for v in verdicts], np.float32), reference, refusal)
