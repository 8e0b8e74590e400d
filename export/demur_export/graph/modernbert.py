"""ModernBERT sequence classifiers as the graph that demur runs.

One input, `token_ids` `[batch, n]`, every row of n real tokens: no mask and no padding. Layers that attend to all
tokens take onnxruntime's flash path; in the others a token sees its neighbours, in blocks (`window`). Where the
classifier reads the first token only, the last layer computes queries and everything behind them for that token alone.

The weights come straight from the checkpoint's safetensors. An exported graph would have to be searched for them under
names that change with the exporter's version, after tracing a model of which no node is used; the file has each weight
once, under PyTorch's own name. That the graph computes what PyTorch computes is measured at every export.

The architecture is that of Warner et al. 2024 (https://arxiv.org/abs/2412.13663) as transformers implements it.
"""

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import onnx

from demur._session import INPUT, OUTPUT
from demur.errors import CheckpointError
from demur_export.graph.builder import WORDS, Builder
from demur_export.graph.modernbert_config import Settings
from demur_export.graph.parameters import Parameters
from demur_export.graph.weights import Array
from demur_export.graph.window import Window


def build(weights: Parameters, config: dict[str, Any]) -> onnx.ModelProto:
    """Return the fp32 graph that demur runs, from a ModernBERT classifier's weights.

    Args:
        weights: The checkpoint's weights.
        config: The checkpoint's `config.json`.

    Raises:
        CheckpointError: The weights or the configuration have something that this graph would leave out.
    """
    settings = Settings.of(config)
    graph = _ModernBert(weights, settings)
    states = graph.embeddings()
    for i in range(settings.layers):
        states = graph.layer(states, i, first_token_only=settings.pooling == "cls" and i == settings.layers - 1)
    graph.head(states)
    left = weights.unread()
    if left:
        raise CheckpointError(f"the checkpoint has weights that ModernBERT has not: {', '.join(left[:5])}")
    return graph.builder.model(settings.labels, settings.positions)


class _ModernBert:
    def __init__(self, weights: Parameters, settings: Settings) -> None:
        self.builder, self._weights, self._settings = Builder(), weights, settings
        self._words = weights.parameter("model.embeddings.tok_embeddings.weight")
        self._width = self._words.shape[1]

    def embeddings(self) -> str:
        """Word embeddings; where a token stands is told by the attention's rotation."""
        b = self.builder
        words = b.add("Gather", "embeddings.gathered", [b.constant(WORDS, self._words), INPUT])
        return self._norm(words, "embeddings.norm", "model.embeddings.norm")

    def layer(self, states: str, i: int, first_token_only: bool) -> str:
        """One pre-norm layer: states `[batch, n, hidden]` in and out, or `[batch, 1, hidden]` out."""
        module, name = f"model.layers.{i}.", f"layer.{i}."
        b = self.builder
        # The first layer's input is normalised by the embeddings.
        source = states if i == 0 else self._norm(states, f"{name}attention.norm", module + "attn_norm")
        mixed = self._attention(source, i, first_token_only)
        out = self._linear(mixed, f"{name}attention.out", *self._linears(module + "attn.Wo", 1))
        own = b.add("Add", f"{name}attention.sum", [self._first(states) if first_token_only else states, out])
        source = self._norm(own, f"{name}mlp.norm", module + "mlp_norm")
        up, gate = (
            self._linear(source, f"{name}mlp.{part}", linear)
            for part, linear in zip(("up", "gate"), self._linears(module + "mlp.Wi", 2), strict=True)
        )
        inner = b.contrib("Gelu", f"{name}mlp.gelu", [up])
        inner = b.add("Mul", f"{name}mlp.gated", [inner, gate])
        out = self._linear(inner, f"{name}mlp.down", *self._linears(module + "mlp.Wo", 1))
        return b.add("Add", f"{name}mlp.sum", [own, out])

    def head(self, states: str) -> None:
        """Pooling and classifier, `[batch, n, hidden]` to `[batch, labels]`."""
        b = self.builder
        states = self._norm(states, "norm", "model.final_norm")
        if self._settings.pooling == "mean":
            # subtle: along rows that lie in one piece; a mean over the middle axis rounds otherwise in a batch.
            channels = b.add("Transpose", "channels", [states], perm=[0, 2, 1])
            mean = b.add("ReduceMean", "channels.mean", [channels], axes=[2], keepdims=0)
            states = b.add("Unsqueeze", "mean", [mean, b.integers(1)])
        pooled = self._linear(states, "head", *self._linears("head.dense", 1))
        pooled = self._norm(b.contrib("Gelu", "head.gelu", [pooled]), "head.norm", "head.norm")
        # subtle: products summed along a row, since a matrix product of few rows rounds otherwise than one of many.
        table = self._weights.parameter("classifier.weight")
        terms = b.add("Mul", "classifier.terms", [pooled, b.constant("classifier.weight", table)])
        sums = b.add("ReduceSum", "classifier.sum", [terms, b.integers(-1)], keepdims=0)
        bias = b.constant("classifier.bias", self._weights.parameter("classifier.bias"))
        b.add("Add", OUTPUT, [sums, bias])

    @cached_property
    def _window(self) -> Window:
        return Window(self.builder, self._settings.heads, self._width // self._settings.heads, self._settings.reach)

    def _attention(self, source: str, i: int, first_token_only: bool) -> str:
        everywhere, name = i % self._settings.every == 0, f"layer.{i}.attention"
        linears = self._linears(f"model.layers.{i}.attn.Wqkv", 3)
        if first_token_only and not everywhere:
            reached = self.builder.integers(self._settings.reach + 1)
            cut = [source, self.builder.integers(0), reached, self.builder.integers(1)]
            source = self.builder.add("Slice", f"{name}.reached", cut)
        inputs = [self._first(source) if first_token_only else source, source, source]
        query, key, value = (
            self._linear(states, f"{name}.{part}", linear)
            for part, states, linear in zip(("query", "key", "value"), inputs, linears, strict=True)
        )
        query, key = self._rotated(query, everywhere), self._rotated(key, everywhere)
        if everywhere or first_token_only:
            parts = [query, key, value]
            return self.builder.contrib("MultiHeadAttention", name, parts, num_heads=self._settings.heads)
        return self._window.attend(name, query, key, value)

    def _rotated(self, states: str, everywhere: bool) -> str:
        """Turn each pair of a head's channels by an angle that grows with the token's position."""
        b, settings = self.builder, self._settings
        kind, theta = ("global", settings.global_theta) if everywhere else ("local", settings.local_theta)
        tables = zip(("cos", "sin"), _rotations(theta, self._width // settings.heads, settings.positions), strict=True)
        # A single position is that of the first token; the others follow.
        inputs = [states, b.integers(0), *(b.constant(f"rotary.{kind}.{name}", table) for name, table in tables)]
        return b.contrib("RotaryEmbedding", f"{states}.rotated", inputs, num_heads=settings.heads)

    def _first(self, states: str) -> str:
        b = self.builder
        return b.add("Slice", f"{states}.first", [states, b.integers(0), b.integers(1), b.integers(1)])

    def _linears(self, module: str, parts: int) -> list[tuple[Array, Array | None]]:
        """A linear layer's weight `[inputs, outputs]` and bias, where it has one, as that many layers side by side."""
        bias = self._weights.optional(f"{module}.bias")
        weights = np.split(self._weights.parameter(f"{module}.weight").T, parts, axis=1)
        return list(zip(weights, [None] * parts if bias is None else np.split(bias, parts), strict=True))

    def _linear(self, states: str, name: str, linear: tuple[Array, Array | None]) -> str:
        weight, bias = linear
        product = self.builder.add("MatMul", name, [states, self.builder.constant(f"{name}.weight", weight)])
        if bias is None:
            return product
        return self.builder.add("Add", f"{name}.sum", [product, self.builder.constant(f"{name}.bias", bias)])

    def _norm(self, states: str, name: str, module: str) -> str:
        inputs = [states, self.builder.constant(f"{name}.gain", self._weights.parameter(module + ".weight"))]
        bias = self._weights.optional(module + ".bias")
        if bias is not None:
            inputs.append(self.builder.constant(f"{name}.bias", bias))
        epsilon = self._settings.epsilon
        return self.builder.add("LayerNormalization", name, inputs, axis=-1, epsilon=epsilon)


@lru_cache(maxsize=2)
def _rotations(theta: float, size: int, positions: int) -> tuple[Array, Array]:
    """Return cosines and sines `[positions, size / 2]`, rounded where PyTorch rounds.

    At position 8,192 the last bit of a frequency moves an angle by 5e-4, so the steps are those of transformers:
    frequencies in fp32, and their products with the positions.
    """
    exponents = (np.arange(0, size, 2, dtype=np.float32) / np.float32(size)).astype(np.float64)
    frequencies = np.float32(1) / (theta**exponents).astype(np.float32)
    angles = np.outer(np.arange(positions, dtype=np.float32), frequencies)
    return np.cos(angles), np.sin(angles)
