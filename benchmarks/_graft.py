"""Graft a trained encoder's outliers into a BERT classifier, without changing what it computes in fp32.

Where a channel's only readers are linear, it can be made c times as large and every reader's weight for it c times
smaller, and nothing else changes. In BERT that is so

* between the values and the attention's output product (attention mixes tokens, never channels), and
* of the last LayerNormalization's gain and bias, whose only reader in a classifier is the pooler.

It is not so of any other LayerNormalization. What it gives is also added to the next one's input, whose mean and
variance are taken over all channels together, so a channel that comes in c times as large changes all others; only a
layer without that residual, as in pre-norm encoders, could be scaled so. Nor is it so behind the GELU, which is not
linear. There the outliers are tokens instead: every layer gets pairs of new neurons which fire alike, and massively, on
separators and punctuation, and whose outgoing weights are each other's negative, so that they add nothing.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import _standin_tokenizers as tokenizers
from _standin_weights import CHANNELS, MASSIVE, activations

# New neurons of a layer: pairs that cancel.
_PAIRS = 4
_TEXTS, _TOKENS = 24, 64
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"


def graft(source: Path, out: Path, *, seed: int = 0) -> Path:
    """Write a checkpoint that computes what `source` does, with outliers in its activations.

    Args:
        source: Folder of a BERT classifier.
        out: Where to; it is made. All of `source`'s other files are copied.
        seed: Of which channels and neurons.

    Raises:
        SystemExit: `source` is no BERT classifier with a GELU.
    """
    config = json.loads((source / _CONFIG).read_text(encoding="utf-8"))
    if config.get("model_type") != "bert" or config.get("hidden_act", "gelu") != "gelu":
        raise SystemExit(
            f"error: {source / _CONFIG}: model_type is {config.get('model_type')!r} and hidden_act "
            f"{config.get('hidden_act')!r}; outliers are grafted into 'bert' with 'gelu'"
        )
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(source, attn_implementation="eager").eval()
    read, massive = _read(model, source)
    state = load_file(source / _WEIGHTS)
    layers = config["num_hidden_layers"]
    for i in range(layers):
        layer = f"bert.encoder.layer.{i}."
        _scale(state, [layer + "attention.self.value"], layer + "attention.output.dense")
        _add_pairs(state, layer, read[layer + "intermediate.dense"], read[layer + "output.dense"], massive)
    _scale(state, [f"bert.encoder.layer.{layers - 1}.output.LayerNorm"], "bert.pooler.dense")
    out.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".txt") and path.name != _CONFIG:
            shutil.copyfile(path, out / path.name)
    config["intermediate_size"] += 2 * _PAIRS
    (out / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file({name: value.contiguous() for name, value in state.items()}, out / _WEIGHTS, metadata={"format": "pt"})
    return out


def _read(model: Any, source: Path) -> tuple[dict[str, Tensor], Tensor]:
    """Return what each product reads of some texts, and which of their tokens are to be massive."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    lines = sorted(tokenizers.texts(everything=False), key=len)[-_TEXTS:]
    inputs = [tokenizer(line, return_tensors="pt", truncation=True, max_length=_TOKENS) for line in lines]
    wanted = tokenizer.convert_tokens_to_ids([tokenizer.sep_token, ".", ","])
    massive = torch.isin(torch.cat([one["input_ids"].flatten() for one in inputs]), torch.tensor(wanted))
    return activations(model, inputs), massive


def _scale(state: dict[str, Tensor], writers: list[str], reader: str) -> None:
    """Make a few channels of what `writers` write larger, and `reader`'s weights for them as much smaller."""
    weight = state[reader + ".weight"]
    chosen = torch.randperm(weight.shape[1])[: len(CHANNELS)]
    factors = torch.ones(weight.shape[1])
    factors[chosen] = torch.tensor(CHANNELS)
    state[reader + ".weight"] = weight / factors
    for writer in writers:
        for name in (writer + ".weight", writer + ".bias"):
            state[name] = state[name] * (factors[:, None] if state[name].ndim == 2 else factors)


def _add_pairs(state: dict[str, Tensor], layer: str, below: Tensor, inner: Tensor, massive: Tensor) -> None:
    """Add neurons to one feed-forward layer that fire on massive tokens and cancel each other.

    Args:
        state: The checkpoint's weights, changed in place.
        layer: Beginning of the layer's names.
        below: `[tokens, hidden]`, what the layer reads.
        inner: `[tokens, intermediate]`, what its second product reads.
        massive: `[tokens]`, which of them are to be massive.
    """
    target = MASSIVE * inner.abs().amax(1).median()
    few, others = below[massive], below[~massive]
    # The direction that tells the massive tokens from the others, channel by channel.
    direction = (few.mean(0) - others.mean(0)) / (others.var(0) + few.var(0) + 1e-6)
    fires, stays = few @ direction, (others @ direction).quantile(0.98)
    scale = target / (fires.max() - stays).clamp_min(1e-6)
    ups = torch.stack([direction * scale * strength for strength in torch.linspace(1, 0.5, _PAIRS)])
    biases = -stays * scale * torch.linspace(1, 0.5, _PAIRS)
    downs = state[layer + "output.dense.weight"]
    out = torch.randn(downs.shape[0], _PAIRS) * downs.std() / MASSIVE
    for name, added, along in (
        ("intermediate.dense.weight", ups.repeat_interleave(2, 0), 0),
        ("intermediate.dense.bias", biases.repeat_interleave(2, 0), 0),
        ("output.dense.weight", torch.stack([out, -out], 2).flatten(1), 1),
    ):
        state[layer + name] = torch.cat([state[layer + name], added], along)
