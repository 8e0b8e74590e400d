"""BERT sequence classifiers as the graph that demur runs.

One input, `token_ids` `[batch, n]`, every row of n real tokens: no mask, no token types, no positions. Rows of all
texts are one matrix `[batch * n, hidden]`, but for attention. The classifier reads the first token only, so the
last layer computes queries and everything behind them for that token alone; the result is the same.
"""

from typing import Any

import numpy as np
import onnx

from demur._session import INPUT, OUTPUT
from demur.errors import CheckpointError
from demur_export.graph.builder import Builder
from demur_export.graph.weights import Array, Linear, Weights

WORDS = "embeddings.words"


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
    rows = graph.embeddings()
    layers = config["num_hidden_layers"]
    for i in range(layers):
        rows = graph.layer(rows, i, first_token_only=i == layers - 1)
    graph.head(rows)
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
        self._width, self._heads = config["hidden_size"], config["num_attention_heads"]
        self._eps = config["layer_norm_eps"]
        self._shape = self.builder.add("Shape", "shape", [INPUT])
        width = self.builder.integers(self._width)
        self._texts = self.builder.add("Concat", "shape.texts", [self._shape, width], axis=0)

    def embeddings(self) -> str:
        """Word, position and type embeddings; every token is of type 0, so its row is added to the positions."""
        b, name = self.builder, "bert.embeddings."
        types = self._weights.parameter(name + "token_type_embeddings.weight")
        positions = self._weights.parameter(name + "position_embeddings.weight") + types[0]
        words = b.constant(WORDS, self._weights.parameter(name + "word_embeddings.weight"))
        words = b.add("Gather", "embeddings.gathered", [words, INPUT])
        length = b.add("Slice", "length", [self._shape, b.integers(1), b.integers(2)])
        table = b.constant("embeddings.positions", positions)
        table = b.add("Slice", "embeddings.positions.used", [table, b.integers(0), length, b.integers(0)])
        total = b.add("Add", "embeddings.sum", [words, table])
        rows = b.add("Reshape", "embeddings.rows", [total, b.integers(-1, self._width)])
        return self._norm(rows, "embeddings.norm", name + "LayerNorm")

    def layer(self, rows: str, i: int, first_token_only: bool) -> str:
        """One post-norm layer: rows `[batch * n, hidden]` in and out, or `[batch, hidden]` out."""
        module, name = f"bert.encoder.layer.{i}.", f"layer.{i}."
        own = self._first(rows, name) if first_token_only else rows
        attended = self._attention(own, rows, module, name, first_token_only)
        out = self._linear(attended, f"{name}attention.out", self._weights.linear(module + "attention.output.dense"))
        own = self.builder.add("Add", f"{name}attention.sum", [own, out])
        own = self._norm(own, f"{name}attention.norm", module + "attention.output.LayerNorm")
        up = self._weights.linear(module + "intermediate.dense")
        inner = self._product(own, f"{name}mlp.up", up.weight)
        inner = self.builder.contrib(
            "BiasGelu", f"{name}mlp.gelu", [inner, self._constant(f"{name}mlp.up.bias", up.bias)]
        )
        out = self._linear(inner, f"{name}mlp.down", self._weights.linear(module + "output.dense"))
        own = self.builder.add("Add", f"{name}mlp.sum", [own, out])
        return self._norm(own, f"{name}mlp.norm", module + "output.LayerNorm")

    def head(self, rows: str) -> None:
        """Pooler and classifier on the first token, `[batch, hidden]` to `[batch, labels]`."""
        b = self.builder
        pooled = b.add("Tanh", "pooled", [self._linear(rows, "pooler", self._weights.linear("bert.pooler.dense"))])
        classifier = self._weights.linear("classifier")
        # subtle: a small matrix product takes another path for one row than for many and rounds differently;
        # products summed along a row do not, so a text's logits are the same in any batch.
        pooled = b.add("Reshape", "pooled.rows", [pooled, b.integers(-1, 1, self._width)])
        table = self._constant("classifier.weight", np.ascontiguousarray(classifier.weight.T))
        terms = b.add("Mul", "classifier.terms", [pooled, table])
        sums = b.add("ReduceSum", "classifier.sum", [terms, b.integers(-1)], keepdims=0)
        b.add("Add", OUTPUT, [sums, self._constant("classifier.bias", classifier.bias)])

    def _attention(self, own: str, rows: str, module: str, name: str, first_token_only: bool) -> str:
        b = self.builder
        parts = []
        for part, source in (("query", own), ("key", rows), ("value", rows)):
            linear = self._weights.linear(f"{module}attention.self.{part}")
            out = self._linear(source, f"{name}attention.{part}", linear)
            parts.append(
                self._by_text(out, f"{name}attention.{part}.texts", single=first_token_only and part == "query")
            )
        mixed = b.contrib("MultiHeadAttention", f"{name}attention", parts, num_heads=self._heads)
        return b.add("Reshape", f"{name}attention.rows", [mixed, b.integers(-1, self._width)])

    def _by_text(self, rows: str, name: str, single: bool) -> str:
        """Rows `[batch * n, hidden]` as `[batch, n, hidden]`, or `[batch, hidden]` as `[batch, 1, hidden]`."""
        b = self.builder
        if single:
            return b.add("Reshape", name, [rows, b.integers(-1, 1, self._width)])
        return b.add("Reshape", name, [rows, self._texts])

    def _first(self, rows: str, name: str) -> str:
        b = self.builder
        texts = b.add("Reshape", f"{name}texts", [rows, self._texts])
        first = b.add("Slice", f"{name}first", [texts, b.integers(0), b.integers(1), b.integers(1)])
        return b.add("Reshape", f"{name}first.rows", [first, b.integers(-1, self._width)])

    def _linear(self, rows: str, name: str, linear: Linear) -> str:
        product = self._product(rows, name, linear.weight)
        return self.builder.add("Add", f"{name}.sum", [product, self._constant(f"{name}.bias", linear.bias)])

    def _product(self, rows: str, name: str, weight: Array) -> str:
        return self.builder.add("MatMul", name, [rows, self._constant(f"{name}.weight", weight)])

    def _norm(self, rows: str, name: str, module: str) -> str:
        gain = self._constant(f"{name}.gain", self._weights.parameter(module + ".weight"))
        bias = self._constant(f"{name}.bias", self._weights.parameter(module + ".bias"))
        return self.builder.add("LayerNormalization", name, [rows, gain, bias], axis=-1, epsilon=self._eps)

    def _constant(self, name: str, value: Array) -> str:
        return self.builder.constant(name, value)
