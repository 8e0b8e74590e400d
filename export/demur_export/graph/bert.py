"""BERT and RoBERTa sequence classifiers as the graph that demur runs.

One input, `token_ids` `[batch, n]`, every row of n real tokens: no mask, no token types, no positions. The
classifier reads the first token only, so the last layer computes queries and everything behind them for that token
alone; the result is the same. BERT and RoBERTa compute the same but for the row at which positions begin, and their
weights have other names.
"""

from typing import Any, NamedTuple

import numpy as np
import onnx

from demur._session import INPUT, OUTPUT
from demur.errors import CheckpointError
from demur_export.checkpoint import first_position
from demur_export.graph.builder import WORDS, Builder
from demur_export.graph.weights import Array, Linear, Weights


class _Modules(NamedTuple):
    """What the modules of a model are called in transformers."""

    encoder: str  # embeddings and layers
    pooler: str  # the dense layer before the tanh, on the first token
    classifier: str


_ROBERTA = _Modules("roberta", "classifier.dense", "classifier.out_proj")
_MODULES = {"bert": _Modules("bert", "bert.pooler.dense", "classifier"), "roberta": _ROBERTA, "xlm-roberta": _ROBERTA}

# The one value of each key that this graph computes; transformers takes the same for a key that is left out.
_EXPECTED: dict[str, Any] = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "problem_type": "single_label_classification",
    "is_decoder": False,
    "pruned_heads": {},
}
_NUMBERS = ("num_hidden_layers", "num_attention_heads", "hidden_size", "layer_norm_eps")


def build(exported: onnx.ModelProto, config: dict[str, Any]) -> onnx.ModelProto:
    """Return the fp32 graph that demur runs, from a BERT or RoBERTa classifier as optimum exports it.

    Args:
        exported: The exported graph; its weights are read, its nodes are not.
        config: The checkpoint's `config.json`; `model_type` is `bert`, `roberta` or `xlm-roberta`.

    Raises:
        CheckpointError: The graph or the configuration has something that this one would leave out.
    """
    _check(config)
    weights = Weights(exported)
    graph = _Bert(weights, config)
    states = graph.embeddings()
    layers = config["num_hidden_layers"]
    for i in range(layers):
        states = graph.layer(states, i, first_token_only=i == layers - 1)
    graph.head(states)
    left = weights.unread()
    if left:
        raise CheckpointError(f"the exported graph has weights that BERT has not: {', '.join(left[:5])}")
    return graph.builder.model(len(config["id2label"]), graph.positions)


def _check(config: dict[str, Any]) -> None:
    for key, expected in _EXPECTED.items():
        found = config.get(key)
        if found not in (None, expected):
            raise CheckpointError(f"config.json: {key} is {found!r}; demur's BERT graph knows {expected!r}")
    for key in _NUMBERS:
        found = config.get(key)
        if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
            raise CheckpointError(f"config.json: {key} is {found!r}; expected a number above 0")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise CheckpointError(
            f"config.json: hidden_size is {config['hidden_size']}, expected a multiple of num_attention_heads, "
            f"which is {config['num_attention_heads']}"
        )


class _Bert:
    def __init__(self, weights: Weights, config: dict[str, Any]) -> None:
        self.builder, self._weights = Builder(), weights
        self._modules = _MODULES[config["model_type"]]
        self._first = first_position(config)
        self._heads = config["num_attention_heads"]
        self._eps = config["layer_norm_eps"]
        self.positions = 0

    def embeddings(self) -> str:
        """Word, position and type embeddings; every token is of type 0, so its row is added to the positions."""
        b, name = self.builder, f"{self._modules.encoder}.embeddings."
        types = self._weights.parameter(name + "token_type_embeddings.weight")
        positions = self._weights.parameter(name + "position_embeddings.weight")[self._first :] + types[0]
        self.positions = len(positions)
        words = b.constant(WORDS, self._weights.parameter(name + "word_embeddings.weight"))
        words = b.add("Gather", "embeddings.gathered", [words, INPUT])
        length = b.add("Slice", "length", [b.add("Shape", "shape", [INPUT]), b.integers(1), b.integers(2)])
        table = b.constant("embeddings.positions", positions)
        table = b.add("Slice", "embeddings.positions.used", [table, b.integers(0), length, b.integers(0)])
        return self._norm(b.add("Add", "embeddings.sum", [words, table]), "embeddings.norm", name + "LayerNorm")

    def layer(self, states: str, i: int, first_token_only: bool) -> str:
        """One post-norm layer: states `[batch, n, hidden]` in and out, or `[batch, 1, hidden]` out."""
        module, name = f"{self._modules.encoder}.encoder.layer.{i}.", f"layer.{i}."
        b = self.builder
        own = states
        if first_token_only:
            own = b.add("Slice", f"{name}first", [states, b.integers(0), b.integers(1), b.integers(1)])
        query, key, value = (
            self._weights.linear(f"{module}attention.self.{part}") for part in ("query", "key", "value")
        )
        # A key's bias adds the same to all scores of a query, which a softmax does not see. A value's bias goes through
        # the softmax, whose weights sum to 1, as it is: the product behind it can add it.
        parts = [
            self._linear(own, f"{name}attention.query", query),
            self._product(states, f"{name}attention.key", key.weight),
            self._product(states, f"{name}attention.value", value.weight),
        ]
        mixed = b.contrib("MultiHeadAttention", f"{name}attention", parts, num_heads=self._heads)
        dense = self._weights.linear(module + "attention.output.dense")
        dense = dense._replace(bias=dense.bias + value.bias @ dense.weight)
        out = self._linear(mixed, f"{name}attention.out", dense)
        own = b.add("Add", f"{name}attention.sum", [own, out])
        own = self._norm(own, f"{name}attention.norm", module + "attention.output.LayerNorm")
        up = self._weights.linear(module + "intermediate.dense")
        inner = self._product(own, f"{name}mlp.up", up.weight)
        inner = b.contrib("BiasGelu", f"{name}mlp.gelu", [inner, self._constant(f"{name}mlp.up.bias", up.bias)])
        out = self._linear(inner, f"{name}mlp.down", self._weights.linear(module + "output.dense"))
        own = b.add("Add", f"{name}mlp.sum", [own, out])
        return self._norm(own, f"{name}mlp.norm", module + "output.LayerNorm")

    def head(self, first: str) -> None:
        """Pooler and classifier on the first token, `[batch, 1, hidden]` to `[batch, labels]`."""
        b = self.builder
        dense = self._linear(first, "pooler", self._weights.linear(self._modules.pooler))
        pooled = b.add("Tanh", "pooled", [dense])
        classifier = self._weights.linear(self._modules.classifier)
        # subtle: a small matrix product takes another path for one row than for many and rounds differently;
        # products summed along a row do not, so a text's logits are the same in any batch.
        table = self._constant("classifier.weight", np.ascontiguousarray(classifier.weight.T))
        terms = b.add("Mul", "classifier.terms", [pooled, table])
        sums = b.add("ReduceSum", "classifier.sum", [terms, b.integers(-1)], keepdims=0)
        b.add("Add", OUTPUT, [sums, self._constant("classifier.bias", classifier.bias)])

    def _linear(self, states: str, name: str, linear: Linear) -> str:
        product = self._product(states, name, linear.weight)
        return self.builder.add("Add", f"{name}.sum", [product, self._constant(f"{name}.bias", linear.bias)])

    def _product(self, states: str, name: str, weight: Array) -> str:
        return self.builder.add("MatMul", name, [states, self._constant(f"{name}.weight", weight)])

    def _norm(self, states: str, name: str, module: str) -> str:
        gain = self._constant(f"{name}.gain", self._weights.parameter(module + ".weight"))
        bias = self._constant(f"{name}.bias", self._weights.parameter(module + ".bias"))
        return self.builder.add("LayerNormalization", name, [states, gain, bias], axis=-1, epsilon=self._eps)

    def _constant(self, name: str, value: Array) -> str:
        return self.builder.constant(name, value)
