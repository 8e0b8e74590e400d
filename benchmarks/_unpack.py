"""Write a checkpoint that computes what a bundle of a BERT does: for benchmarks where its own can't be had.

A bundle holds all that its checkpoint did, rounded to 8 bits and rearranged: scales moved from inputs to weights,
channels taken out of products, what an input was raised by taken back in a bias. Here all this is put back into fp32
weights. The checkpoint has the architecture, the size and the tokenizer of the one that the bundle was made from, so it
takes the same time; its weights are the bundle's, so what it says is as far from the original as rounding of weights
alone takes it, and the bundle's distance from it is that of rounding activations.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import _standin_tokenizers as tokenizers
from _source import UNPACKED
from demur import _bundle
from demur._bundle import Bundle
from demur_export.graph.builder import WORDS
from demur_export.graph.editor import Editor
from demur_export.ngrams import Ngrams

_READ = ("query", "key", "value")
_SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}

Array = NDArray[np.float32]


def unpack(name: str, out: Path) -> Path:
    """Write the checkpoint.

    Args:
        name: Of a bundle, or its folder.
        out: Where to; it is made.

    Raises:
        SystemExit: The bundle is no BERT's with a WordPiece tokenizer, or of another recipe than `int8-row`.
    """
    bundle = _bundle.read(_bundle.find(name))
    tokens = PreTrainedTokenizerFast(
        tokenizer_file=str(bundle.tokenizer.path), model_max_length=bundle.max_tokens, **_SPECIAL
    )
    if (
        bundle.architecture != "bert"
        or bundle.recipe != "int8-row"
        or tokens.backend_tokenizer.token_to_id("[CLS]") is None
    ):
        raise SystemExit(
            f"error: {bundle.folder}: {bundle.architecture}, {bundle.recipe}; what can be unpacked is a bert of "
            "recipe int8-row with a WordPiece tokenizer"
        )
    editor = Editor(onnx.load(bundle.model.path))
    state = _state(editor)
    model = BertForSequenceClassification(_config(bundle, editor, state))
    # What the graph has no weights for is zero: types stand in the positions, and the keys' bias changes nothing.
    zeros = {key: torch.zeros_like(value) for key, value in model.state_dict().items() if value.is_floating_point()}
    given = {key: torch.tensor(value) for key, value in state.items()}
    model.load_state_dict(model.state_dict() | zeros | given)
    model.save_pretrained(out)
    tokenizers.save(tokens, out, "BertTokenizer")
    _save_table(editor, bundle, out)
    return out


def _config(bundle: Bundle, editor: Editor, state: dict[str, Array]) -> BertConfig:
    attentions = [node for node in editor.nodes if node.op_type == "MultiHeadAttention"]
    norm = editor.producer("embeddings.norm")
    assert norm is not None
    labels = dict(enumerate(bundle.labels))
    vocabulary, width = state["bert.embeddings.word_embeddings.weight"].shape
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=len(attentions),
        num_attention_heads=_attribute(attentions[0], "num_heads"),
        layer_norm_eps=_attribute(norm, "epsilon"),
        intermediate_size=len(state["bert.encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(state["bert.embeddings.position_embeddings.weight"]),
        id2label=labels,
        label2id={label: i for i, label in labels.items()},
        operating_points=dict(bundle.operating_points),
        **{UNPACKED: f"{bundle.name} {bundle.version}"},
    )


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next(onnx.helper.get_attribute_value(found) for found in node.attribute if found.name == name)


def _state(editor: Editor) -> dict[str, Array]:
    """Return the weights by the names that transformers gives them."""
    state = {
        "bert.embeddings.word_embeddings.weight": _words(editor),
        "bert.embeddings.position_embeddings.weight": _constant(editor, "embeddings.positions"),
        "classifier.weight": _constant(editor, "classifier.weight"),
        "classifier.bias": _constant(editor, "classifier.bias"),
    }
    norms = {"bert.embeddings.LayerNorm": "embeddings.norm"}
    products = {"bert.pooler.dense": "pooler"}
    layers = sum(node.op_type == "MultiHeadAttention" for node in editor.nodes)
    for i in range(layers):
        theirs, ours = f"bert.encoder.layer.{i}", f"layer.{i}"
        products |= {f"{theirs}.attention.self.{which}": f"{ours}.attention.{which}" for which in _READ}
        products[f"{theirs}.attention.output.dense"] = f"{ours}.attention.out"
        products[f"{theirs}.intermediate.dense"] = f"{ours}.mlp.up"
        products[f"{theirs}.output.dense"] = f"{ours}.mlp.down"
        norms[f"{theirs}.attention.output.LayerNorm"] = f"{ours}.attention.norm"
        norms[f"{theirs}.output.LayerNorm"] = f"{ours}.mlp.norm"
    for theirs, ours in norms.items():
        state[f"{theirs}.weight"] = _constant(editor, f"{ours}.gain")
        state[f"{theirs}.bias"] = _constant(editor, f"{ours}.bias")
    for theirs, ours in products.items():
        weight, raised = _product(editor, ours)
        bias = editor.constant(f"{ours}.bias")
        state[f"{theirs}.weight"] = weight.T
        if bias is not None:
            state[f"{theirs}.bias"] = bias + raised
    return state


def _constant(editor: Editor, name: str) -> Array:
    found = editor.constant(name)
    assert found is not None, name
    return np.asarray(found, np.float32)


def _words(editor: Editor) -> Array:
    scales = _constant(editor, f"{WORDS}.scale") * _constant(editor, f"{WORDS}.columns")
    return _constant(editor, f"{WORDS}.q") * scales


def _product(editor: Editor, name: str) -> tuple[Array, Array]:
    """Return a product's weight `[inputs, outputs]` for its input as it was, and what its bias was lowered by."""
    quantised = editor.producer(f"{name}.unit")
    if quantised is None:
        found = next((node for node, _ in editor.products() if node.name == name), None)
        if found is None:
            raise SystemExit(f"error: {name} reads an input whose scale is fixed ahead; that can't be unpacked")
        read, weight = found.input[0], _constant(editor, found.input[1])
    else:
        read = quantised.input[0].removesuffix(".q")
        weight = _constant(editor, quantised.input[1]) * _constant(editor, quantised.input[3])
    shift = editor.constant(f"{read}.shift")
    raised = np.zeros(weight.shape[1], np.float32) if shift is None else shift @ weight
    factor = editor.constant(f"{read.removesuffix('.smooth')}.smoothing") if read.endswith(".smooth") else None
    if factor is not None:
        weight = weight * factor[:, None]
    for node in editor.nodes:
        if node.op_type == "Gather" and node.output[0].startswith(f"{name}.apart."):
            apart = node.output[0].removesuffix(".values")
            weight[int(_constant(editor, f"{apart}.channel")[0])] += _constant(editor, f"{apart}.weight")
    return weight, raised


def _save_table(editor: Editor, bundle: Bundle, out: Path) -> None:
    """Write the table of n-grams, if the bundle has one."""
    weights, tags = editor.constant("ngrams.weights"), editor.producer("ngrams.tags")
    if weights is None or tags is None:
        return
    after = editor.constant(tags.input[1])
    assert after is not None
    scale = float(_constant(editor, "ngrams.scales")[0, bundle.refusal])
    Ngrams(weights, scale, int(after.reshape(-1)[0])).save(out)
