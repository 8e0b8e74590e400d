"""The whole export: checkpoint -> fp32 ONNX -> demur's graph -> recipe -> bundle -> gate."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from demur import _bundle as demur_bundle
from demur import _machine
from demur._assemble import assemble
from demur._conversation import Conversation
from demur._reader import Reader
from demur._session import INPUT, OnnxSession
from demur._tokenizer import Tokenizer
from demur.errors import CheckpointError, ExportError
from demur_export import (
    bundle,
    card,
    catalogue,
    checkpoint,
    convert,
    corpus,
    ngrams,
    parity,
    templates,
    vocabulary,
    walk,
)
from demur_export.checkpoint import Checkpoint
from demur_export.graph import bert, masked, modernbert
from demur_export.graph.ngrams import attach
from demur_export.graph.parameters import Parameters
from demur_export.interop import folder as interop
from demur_export.interop.folder import UNQUANTISED
from demur_export.options import Options, begin
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
    if options.padded and options.recipe not in UNQUANTISED:
        raise ExportError(
            f"recipe {options.recipe} is for CPUs, which gain nothing by padding; "
            f"--padded is for --recipe {' or '.join(UNQUANTISED)}"
        )
    work = _Export(options, say)
    with bundle.folder(options.out) as folder:
        work.folder = folder
        graph = work.build()
        if work.pruned_for:
            graph = work.prune(graph)
        taken = work.quantise(graph)
        if options.interop:
            work.add_interop(graph, taken)
        bundle.write_manifest(folder, work.manifest)
        (folder / bundle.CARD).write_text(card.render(work.manifest, options.notes), encoding="utf-8")
    return taken.parity


class _Export:
    """One export, stage by stage; each leaves a bundle in `folder` that the next one reads."""

    folder: Path

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self.options, self.say = options, say
        self.source = checkpoint.read(options.source)
        if options.entry is not None:
            catalogue.check(options.entry, self.source)
        self.manifest = begin(options, self.source, templates.resolve(options.template, self.source.tokenizer))
        self.conversations = corpus.gate(options.texts, alone=options.vocabulary is not None)
        self.pruned_for = corpus.read(options.vocabulary, "a vocabulary") if options.vocabulary else None
        self.table = ngrams.read(self.source.folder)
        if self.pruned_for and self.table:
            raise CheckpointError(
                f"{self.source.folder / ngrams.FILE}: the table of n-grams goes by the ids of the whole vocabulary; "
                "leave out --vocabulary"
            )
        self.tokenizer: Path = self.source.tokenizer
        self.pruned: vocabulary.Pruned | None = None

    def build(self) -> onnx.ModelProto:
        """Make the fp32 graph, and compare it with PyTorch."""
        source = self.source
        self.say(f"exporting {source.architecture} with {source.parameters / 1e6:.1f} M weights")
        graph = BUILDERS[source.architecture](source)
        if self.table is not None:
            graph = attach(graph, self.table, source.refusal)
        self._write_fp32(graph)
        unseen = self.ids[_UNSEEN]
        self.say(f"PyTorch on {len(unseen)} texts")
        self.reference = torch_logits(source, unseen)
        parity.check_graph(parity.compare(logits(graph, unseen), self.reference, source.refusal))
        return graph

    def prune(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Leave out entries of the vocabulary that the user's conversations don't use."""
        assert self.options.vocabulary is not None
        assert self.pruned_for is not None
        pruned = vocabulary.prune(self.tokenizer, _used(self.folder, self.pruned_for))
        self.say(f"vocabulary of {len(pruned.kept)} entries in the place of {pruned.before}")
        self.tokenizer, self.pruned, whole = self.folder / bundle.TOKENIZER, pruned, self.ids
        self.tokenizer.write_text(pruned.text, encoding="utf-8")
        graph = vocabulary.select_rows(graph, pruned)
        self._write_fp32(graph)
        record = pruned.record(self.options.vocabulary, len(self.pruned_for), whole, self.ids)
        self.manifest["exported"]["vocabulary"] = record
        return graph

    def quantise(self, graph: onnx.ModelProto) -> walk.Try:
        """Make the bundle by the recipe, or by the first that passes the gate."""
        options, refusal = self.options, self.source.refusal
        given = masked.masked(graph, ids=INPUT) if options.padded else graph
        taken, tried = walk.walk(options.recipe, given, self.ids[_CALIBRATION], refusal, self._judge, self.say)
        if taken is None:
            taken = walk.nearest(tried) if options.accept else None
            if taken is None:
                raise walk.failure(options.recipe, tried, pruned=self.pruned is not None)
            if taken is not tried[-1]:
                self._judge(taken.recipe, taken.made)
        found = taken.parity
        self.manifest["exported"] |= {
            "products in 8 bits": taken.made.products,
            "products left in fp32": ", ".join(taken.made.left) or "none",
            "inputs smoothed": taken.made.smoothed,
            "inputs with fixed scales": taken.made.fixed,
            "tried": [one.record() for one in tried],
        }
        processor = _machine.processor()
        self.manifest["parity"] = found.record() | {"within_gate": parity.passes(found), "processor": processor}
        return taken

    def add_interop(self, graph: onnx.ModelProto, taken: walk.Try) -> None:
        """Add the folder that other clients read."""
        self.say("graphs for other clients")
        made = interop.Made(
            self.source,
            self.tokenizer,
            graph,
            taken.made.model,
            self.pruned,
            accepted=self.options.accept,
            with_table=self.table is not None,
        )
        texts = (self.ids[_CALIBRATION], self.ids[_UNSEEN], self.reference)
        self.manifest["exported"]["interop"] = interop.write(self.folder, self.manifest, made, *texts, self.say)

    def _write_fp32(self, graph: onnx.ModelProto) -> None:
        """Write a bundle by no recipe, and read the conversations with it."""
        self.manifest["files"] = bundle.write_model(self.folder, graph, self.tokenizer)
        bundle.write_manifest(self.folder, self.manifest | {"recipe": "fp32"})
        self.ids = _ids(self.folder, self.conversations)

    def _judge(self, recipe: str, made: Quantised) -> walk.Try:
        """Write a quantised bundle and compare it with PyTorch on texts that quantisation has not seen."""
        files = bundle.write_model(self.folder, made.model, self.tokenizer)
        self.manifest["recipe"], self.manifest["files"] = recipe, files
        unseen = self.conversations[_UNSEEN]
        found = _compare(self.folder, self.manifest, unseen, self.reference, self.source.refusal)
        self.say(
            f"recipe {recipe}, {made.products} products in 8 bits, {len(made.left)} left in fp32: "
            f"{found.label_flips} label flips, max |dp| {found.max_dp:.4f}, mean |dp| {found.mean_dp:.5f}"
        )
        graph = sum(file["bytes"] for key, file in files.items() if key != "tokenizer")
        return walk.Try(recipe, made, graph, found)


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
    read = demur_bundle.read(folder)
    # What is compared is seldom kept, and nothing is made ready to load it again.
    session = partial(OnnxSession, read, "cpu", cached=False)
    model = assemble(read, session, threads=_machine.cores(), threshold=0.5)
    verdicts = [model.judge_row(conversation) for conversation in conversations]
    return parity.compare(np.array([v.logits for v in verdicts], np.float32), reference, refusal)
