"""Random weights shaped like trained ones: outlier channels, massive tokens, and scores that spread.

Trained encoders have a few channels in which every token's activations are tens of times the others', and a few tokens
(separators, punctuation) with massive activations inside their feed-forward layers: Dettmers et al. 2022
(https://arxiv.org/abs/2208.07339), Bondarenko et al. 2021 (https://arxiv.org/abs/2109.12948) and Sun et al. 2024
(https://arxiv.org/abs/2402.17762). Both are what quantisation stumbles over, and both are planted here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# How many times the rest the planted channels and tokens are.
CHANNELS = (30.0, 45.0, 65.0, 100.0)
MASSIVE = 60.0
# The largest of a row's activations behind a GELU, where what comes before it is normal.
_TALLEST = 3.5
# How far from the middle the difference of the two logits is, of the text at the first tenth and at the last.
_SPREAD = 3.0


def shape(model: Any, ids: Tensor, massive: Sequence[int], seed: int) -> None:
    """Give a sequence classifier its weights.

    Args:
        model: BERT, RoBERTa or ModernBERT with a classification head, as transformers makes it.
        ids: `[texts, n]` token ids of real texts, by which gains are set.
        massive: Ids of the tokens that become massive.
        seed: Of everything random.
    """
    torch.manual_seed(seed)
    embeddings = model.get_input_embeddings()
    hidden = embeddings.weight.shape[1]
    order = torch.randperm(hidden)
    outliers, signature = order[: len(CHANNELS)], int(order[len(CHANNELS)])
    with torch.no_grad():
        _normal(model)
        _sign(model, embeddings, massive, signature)
        factors = torch.ones(hidden)
        factors[outliers] = torch.tensor(CHANNELS)
        for module in readers(model, hidden):
            module.weight /= factors
        _plant_massive(model, signature)
        hooks = [norm.register_forward_pre_hook(_Gain(factors)) for norm in norms(model)]
        model(input_ids=ids)
        for hook in hooks:
            hook.remove()


def spread(model: Any, features: Tensor) -> None:
    """Set the last layer so that the texts' scores spread over 0 to 1.

    It reads the direction in which the texts differ most, as a trained head does: along a random one, where they
    hardly differ, scores would show little but rounding.

    Args:
        model: The classifier.
        features: `[texts, hidden]`, what the last layer reads for each text.
    """
    last = head(model)
    with torch.no_grad():
        centre = features.median(0).values
        direction = torch.linalg.svd(features - centre, full_matrices=False).Vh[0]
        # subtle: by quantiles, since a single odd text would else take the whole range for itself.
        low, high = (features @ direction).quantile(torch.tensor([0.1, 0.9]))
        row = direction * _SPREAD / (high - low)
        last.weight.copy_(torch.stack([-row, row]))
        last.bias.copy_(-last.weight @ centre)


def head(model: Any) -> nn.Linear:
    """Return the layer that gives the logits."""
    found = model.classifier
    return getattr(found, "out_proj", found)


def norms(model: Any) -> list[nn.LayerNorm]:
    """Return the normalisations that matrix products read; the one behind a head's first layer is none."""
    return [m for name, m in model.named_modules() if isinstance(m, nn.LayerNorm) and not name.startswith("head")]


def readers(model: Any, hidden: int) -> list[nn.Linear]:
    """Return the products that read a normalisation's output: queries, keys, values, up and the head's first."""
    wanted = ("query", "key", "value", "intermediate.dense", "Wqkv", "Wi", "pooler.dense", "classifier.dense")
    found = [m for name, m in model.named_modules() if name.endswith((*wanted, "head.dense"))]
    assert all(m.in_features == hidden for m in found)
    return found


def _normal(model: Any) -> None:
    """Matrices that keep the size of what they read, small biases; every normalisation still does nothing."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight.normal_(0, module.in_features**-0.5)
            if module.bias is not None:
                module.bias.normal_(0, 0.02)
        elif isinstance(module, nn.Embedding):
            module.weight.normal_(0, 0.05)


def _sign(model: Any, embeddings: nn.Embedding, massive: Sequence[int], signature: int) -> None:
    """Mark the massive tokens in one channel, which no other embedding uses and no layer writes to."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            module.weight[:, signature] = 0
        elif isinstance(module, nn.Linear) and name.endswith(("output.dense", "Wo")):
            module.weight[signature] = 0
            if module.bias is not None:
                module.bias[signature] = 0
    embeddings.weight[list(massive), signature] = 0.05 * embeddings.weight.shape[1] ** 0.5


def _plant_massive(model: Any, signature: int) -> None:
    """Give feed-forward layers of the first half two neurons each that fire on the massive tokens alone."""
    pairs = _feed_forward(model)
    for up, down in pairs[: max(1, len(pairs) // 2)]:
        target = MASSIVE * _TALLEST
        neurons = torch.randperm(down.in_features)[:2]
        # The gate of a gated layer is the second half of its rows.
        rows = torch.cat([neurons, neurons + down.in_features]) if up.out_features > down.in_features else neurons
        up.weight[rows] = 0
        up.weight[rows, signature] = 1
        up.register_forward_pre_hook(_Fire(rows, signature, target, gated=len(rows) > 2))
        down.weight[:, neurons] /= target


def _feed_forward(model: Any) -> list[tuple[nn.Linear, nn.Linear]]:
    named = dict(model.named_modules())
    ups = [name for name in named if name.endswith(("intermediate.dense", "mlp.Wi"))]
    below = {"intermediate.dense": "output.dense", "mlp.Wi": "mlp.Wo"}
    return [
        (named[name], named[name.removesuffix(end) + other])
        for name in ups
        for end, other in below.items()
        if name.endswith(end)
    ]


class _Fire:
    """Scales planted neurons, the first time their layer runs, so that massive tokens reach the target."""

    def __init__(self, rows: Tensor, signature: int, target: float, gated: bool) -> None:
        self._rows, self._signature, self._target, self._gated = rows, signature, target, gated
        self._done = False

    def __call__(self, module: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        if self._done:
            return
        self._done = True
        tallest = inputs[0][..., self._signature].max()
        if self._gated:  # a product of two, so that tokens with little of the signature have next to nothing
            module.weight[self._rows, self._signature] = self._target**0.5 / tallest
        else:  # the bias keeps all tokens but the massive ones below zero
            module.weight[self._rows, self._signature] = 2 * self._target / tallest
            module.bias[self._rows] = -self._target


class _Gain:
    """Sets a normalisation's gain by what passes through it, so that every channel comes out `factors` in size."""

    def __init__(self, factors: Tensor) -> None:
        self._factors = factors

    def __call__(self, module: nn.LayerNorm, inputs: tuple[Tensor, ...]) -> None:
        states = nn.functional.layer_norm(inputs[0], module.normalized_shape, eps=module.eps).flatten(0, -2)
        sizes = states.square().mean(0).sqrt()
        # One gain for all channels but the outliers: else the signature would be made as small as the rest.
        plain = sizes[self._factors == 1].median()
        module.weight.copy_(torch.where(self._factors == 1, 1 / plain, self._factors / sizes.clamp_min(1e-3)))


def activations(model: Any, inputs: Iterable[Any]) -> dict[str, Tensor]:
    """Return what each matrix product reads, `[tokens, channels]` by its name, over all of `inputs`."""
    seen: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Any:
        return lambda module, read: seen.setdefault(name, []).append(read[0].detach().flatten(0, -2))

    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(keep(name)) for name, module in layers]
    with torch.inference_mode():
        for one in inputs:
            model(**one)
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(parts) for name, parts in seen.items()}


def outliers(read: Tensor) -> tuple[float, float]:
    """Return how many times the median one the largest channel and the largest token of `[tokens, channels]` are."""
    tallest = read.abs()
    channels, tokens = tallest.amax(0), tallest.amax(1)
    return float(channels.max() / channels.median()), float(tokens.max() / tokens.median())
