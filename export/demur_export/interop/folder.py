"""Writes the folder, and measures its graphs as clients run them: padded, masked, with onnxruntime's own defaults.

It is a folder of its own inside the bundle: the bundle's `model.onnx` takes exact lengths and no mask, and clients that
look for a file of that name must not find it; and what other clients read can be published as it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from demur import _machine
from demur._session import MASK, OUTPUT, RESTING
from demur.errors import ParityError
from demur_export import checkpoint, convert, parity, quantize, storing
from demur_export.checkpoint import Checkpoint
from demur_export.graph.masked import IDS, TYPES, masked
from demur_export.graph.parameters import Parameters
from demur_export.interop import card, files
from demur_export.run import Texts
from demur_export.vocabulary import Pruned

FOLDER = "interop"
MODEL, QUANTISED = "onnx/model.onnx", "onnx/model_quantized.onnx"
# A bundle by one of these recipes has no quantised graph to hand on.
UNQUANTISED = ("fp32", "fp16")
_OTHERWISE = "int8-row"
# Of a batch that is measured: texts, and tokens with their padding.
_TEXTS, _TOKENS = 8, 8192


@dataclass(frozen=True)
class Made:
    """What the export has made so far.

    Attributes:
        source: The checkpoint.
        tokenizer: The bundle's `tokenizer.json`.
        graph: demur's fp32 graph.
        quantised: That by the bundle's recipe.
        pruned: How the vocabulary was pruned, if it was.
        accepted: Whether graphs that fall short of the gate are kept, as the bundle's own was to be.
        with_table: Whether the graphs add a table of n-grams, which no other exporter knows.
    """

    source: Checkpoint
    tokenizer: Path
    graph: onnx.ModelProto
    quantised: onnx.ModelProto
    pruned: Pruned | None
    accepted: bool = False
    with_table: bool = False


def write(
    bundle: Path,
    manifest: dict[str, Any],
    made: Made,
    calibration: Texts,
    texts: Texts,
    reference: NDArray[np.float32],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Write `interop` into a bundle, and return what `demur.json` records of it.

    Args:
        bundle: The bundle's folder.
        manifest: What `demur.json` holds; its recipe is that of the bundle.
        made: What the folder is made of.
        calibration: Token ids `[1, n]` of texts to quantise by, where the bundle is not quantised.
        texts: Token ids `[1, n]` of the texts to compare.
        reference: PyTorch's logits `[texts, labels]` for them.
        say: Called with a line where something is left out.

    Returns:
        By file, the recipe and how far it is from PyTorch; `left out` says why where a file is not there.

    Raises:
        CheckpointError: The tokenizer's files don't serve other clients.
        ParityError: The fp32 graph is not what PyTorch computes.
    """
    folder = bundle / FOLDER
    (folder / MODEL).parent.mkdir(parents=True)
    padding = files.write(folder, made.source, made.tokenizer, made.pruned)
    _write_fp32(folder / MODEL, made)
    recipe = str(manifest["recipe"])
    quantised = made.quantised
    if recipe in UNQUANTISED:
        recipe = _OTHERWISE
        quantised = quantize.RECIPES[recipe](made.graph, calibration).model
    storing.write(folder / QUANTISED, masked(quantised, _types(made.source)), storing.ONE_FILE)
    record: dict[str, Any] = {}
    for file, by in ((MODEL, "fp32"), (QUANTISED, recipe)):
        found = parity.compare(padded_logits(folder / file, texts, padding), reference, made.source.refusal)
        record[file] = {"recipe": by, "parity": found.record()}
        if file == MODEL and made.pruned is None:
            try:
                parity.check_graph(found)
            except ParityError as error:
                raise ParityError(f"{FOLDER}/{MODEL}: {error}") from error
        elif (broken := parity.broken(found)) and not made.accepted:
            storing.remove(folder / file)
            record[file]["left out"] = f"recipe {by} falls short of PyTorch on {found.texts} texts: {broken}"
            say(f"{FOLDER}/{file} is left out: {record[file]['left out']}")
    (folder / card.NAME).write_text(card.render(manifest, record), encoding="utf-8")
    return record


def padded_logits(path: Path, texts: Texts, padding: int) -> NDArray[np.float32]:
    """Return logits `[texts, labels]` of token ids `[1, n]` each, run in padded batches as other clients do.

    Args:
        path: A graph with the inputs `input_ids`, `attention_mask` and, where the model has them, `token_type_ids`.
        texts: Taken in the order in which they come, so that long ones pad short ones.
        padding: The id that pads.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = _machine.cores(), 3
    for key, value in RESTING.items():  # of no account for the results
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    typed = TYPES in [i.name for i in session.get_inputs()]
    found = []
    for batch in _batches(texts):
        ids, mask = _padded(batch, padding)
        feed = {IDS: ids, MASK: mask} | ({TYPES: np.zeros_like(ids)} if typed else {})
        found.append(session.run([OUTPUT], feed)[0])
    return np.concatenate(found)


def _batches(texts: Texts) -> Iterator[list[NDArray[np.int64]]]:
    batch: list[NDArray[np.int64]] = []
    for ids in texts:
        longest = max(one.shape[1] for one in (*batch, ids))
        if batch and (len(batch) == _TEXTS or longest * (len(batch) + 1) > _TOKENS):
            yield batch
            batch = []
        batch.append(ids)
    yield batch


def _padded(batch: list[NDArray[np.int64]], padding: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and mask `[texts, longest]`, padded behind."""
    longest = max(ids.shape[1] for ids in batch)
    ids, mask = np.full((len(batch), longest), padding, np.int64), np.zeros((len(batch), longest), np.int64)
    for i, text in enumerate(batch):
        ids[i, : text.shape[1]], mask[i, : text.shape[1]] = text[0], 1
    return ids, mask


def _write_fp32(path: Path, made: Made) -> None:
    """Write what optimum exports; demur's graph where that has a pruned vocabulary, or a table of n-grams beside it."""
    if made.pruned is None and not made.with_table:
        convert.write(made.source, path)
    else:
        storing.write(path, masked(made.graph, _types(made.source)), storing.ONE_FILE)


def _types(source: Checkpoint) -> NDArray[np.float32] | None:
    """Return the embeddings of token types `[types, hidden]`, where clients feed types: to BERT, not to RoBERTa."""
    if source.architecture != "bert":
        return None
    return Parameters(checkpoint.weights(source.folder)).parameter("bert.embeddings.token_type_embeddings.weight")
