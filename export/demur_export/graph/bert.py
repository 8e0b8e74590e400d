"""BERT sequence classifiers as the graph that demur runs.

One input, `token_ids` `[batch, n]`, every row of n real tokens: no mask, no token types, no positions. The
classifier reads the first token only, so the last layer computes queries and everything behind them for that token
alone; the result is the same.
"""

from typing import Any

import numpy as np
import onnx

from demur._session import INPUT, OUTPUT
from demur.errors import CheckpointError
from demur_export.graph.builder import WORDS, Builder
from demur_export.graph.weights import Array, Linear, Weights


def build(exported: onnx.ModelProto, config: dict[str, Any]) -> onnx.ModelProto:
    """Return the fp32 graph that demur runs, from a BERT classifier as optimum exports it.

    Args:
        exported: The exported graph; its weights are read, its nodes are not.
        config: The checkpoint's `config.json`.

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
    return graph.builder.model(len(config["id2label"]), config["max_position_embeddings"])


def _check(config: dict[str, Any]) -> None:
    for key, expected in (
        ("hidden_act", "gelu"),
        ("position_embedding_type", "absolute"),
        ("problem_type", "single_label_classification"),
    ):
        found = config.get(key)
        if found not in (None, expected):
            raise CheckpointError(f"config.json: {key} is {found!r}; demur's BERT graph knows {expected!r}")


class _Bert:
    def __init__(self, weights: Weights, config: dict[str, Any]) -> None:
        self.builder, self._weights = Builder(), weights
        self._heads = config["num_attention_heads"]
        self._eps = config["layer_norm_eps"]

    def embeddings(self) -> str:
        """Word, position and type embeddings; every token is of type 0, so its row is added to the positions."""
        b, name = self.builder, "bert.embeddings."
        types = self._weights.parameter(name + "token_type_embeddings.weight")
        positions = self._weights.parameter(name + "position_embeddings.weight") + types[0]
        words = b.constant(WORDS, self._weights.parameter(name + "word_embeddings.weight"))
        words = b.add("Gather", "embeddings.gathered", [words, INPUT])
        length = b.add("Slice", "length", [b.add("Shape", "shape", [INPUT]), b.integers(1), b.integers(2)])
        table = b.constant("embeddings.positions", positions)
        table = b.add("Slice", "embeddings.positions.used", [table, b.integers(0), length, b.integers(0)])
        return self._norm(b.add("Add", "embeddings.sum", [words, table]), "embeddings.norm", name + "LayerNorm")

    def layer(self, states: str, i: int, first_token_only: bool) -> str:
        """One post-norm layer: states `[batch, n, hidden]` in and out, or `[batch, 1, hidden]` out."""
        module, name = f"bert.encoder.layer.{i}.", f"layer.{i}."
        b = self.builder
        own = states
        if first_token_only:
            own = b.add("Slice", f"{name}first", [states, b.integers(0), b.integers(1), b.integers(1)])
        parts = [
            self._linear(source, f"{name}attention.{part}", self._weights.linear(f"{module}attention.self.{part}"))
            for part, source in (("query", own), ("key", states), ("value", states))
        ]
        mixed = b.contrib("MultiHeadAttention", f"{name}attention", parts, num_heads=self._heads)
        out = self._linear(mixed, f"{name}attention.out", self._weights.linear(module + "attention.output.dense"))
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
        pooled = b.add("Tanh", "pooled", [self._linear(first, "pooler", self._weights.linear("bert.pooler.dense"))])
        classifier = self._weights.linear("classifier")
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
