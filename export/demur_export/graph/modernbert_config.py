"""What a ModernBERT classifier's `config.json` says, in the terms of transformers 4 (`transformers_4`)."""

from typing import Any, NamedTuple

from demur.errors import CheckpointError

# transformers' own defaults (`ModernBertConfig`), for keys that a checkpoint leaves out.
_GLOBAL_THETA, _LOCAL_THETA = 160_000.0, 10_000.0
_WHOLE = {
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "hidden_size": 768,
    "local_attention": 128,
    "max_position_embeddings": 8192,
    "global_attn_every_n_layers": 3,
}
_EPSILON = 1e-5


class Settings(NamedTuple):
    """The shape of a ModernBERT classifier.

    Attributes:
        layers: Number of layers.
        heads: Attention heads of each.
        every: Layers 0, `every`, 2 `every`, ... attend to all tokens, the others to those nearby.
        reach: How far a token sees in those others, to either side.
        global_theta: Base of the rotary angles in layers that attend to all tokens.
        local_theta: The same in the others.
        epsilon: Of every LayerNormalization.
        pooling: `cls` or `mean`.
        labels: Number of outputs.
        positions: How many tokens the model was trained to read.
    """

    layers: int
    heads: int
    every: int
    reach: int
    global_theta: float
    local_theta: float
    epsilon: float
    pooling: str
    labels: int
    positions: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Settings":
        """Read `config.json`.

        Raises:
            CheckpointError: It asks for something that demur's graph would leave out.
        """
        for key, expected in (
            ("hidden_activation", ("gelu",)),
            ("classifier_activation", ("gelu",)),
            ("classifier_pooling", ("cls", "mean")),
            ("problem_type", ("single_label_classification",)),
            ("rope_scaling", ()),
        ):
            found = config.get(key)
            if found is not None and found not in expected:
                known = " or ".join(map(repr, expected)) or "none"
                raise CheckpointError(f"config.json: {key} is {found!r}; demur's ModernBERT graph knows {known}")
        whole = {key: _whole(config, key) for key in _WHOLE}
        heads, width = whole["num_attention_heads"], whole["hidden_size"]
        if width % (2 * heads):
            raise CheckpointError(
                f"config.json: hidden_size is {width} and num_attention_heads {heads}; "
                "a head needs a whole and even number of channels"
            )
        everywhere = _number("global_rope_theta", config.get("global_rope_theta", _GLOBAL_THETA))
        nearby = config.get("local_rope_theta", _LOCAL_THETA)
        return cls(
            layers=whole["num_hidden_layers"],
            heads=heads,
            every=whole["global_attn_every_n_layers"],
            reach=whole["local_attention"] // 2,
            global_theta=everywhere,
            local_theta=everywhere if nearby is None else _number("local_rope_theta", nearby),
            epsilon=_number("norm_eps", config.get("norm_eps", _EPSILON)),
            pooling=config.get("classifier_pooling") or "cls",
            labels=len(config["id2label"]),
            positions=whole["max_position_embeddings"],
        )


def _whole(config: dict[str, Any], key: str) -> int:
    found = config.get(key, _WHOLE[key])
    if not isinstance(found, int) or found < 1:
        raise CheckpointError(f"config.json: {key} is {found!r}, expected a whole number above 0")
    return found


def _number(key: str, found: object) -> float:
    if not isinstance(found, int | float) or not found > 0:
        raise CheckpointError(f"config.json: {key} is {found!r}, expected a number above 0")
    return float(found)
