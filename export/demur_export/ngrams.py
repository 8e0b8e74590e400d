"""A table of weights for the n-grams of a reply, added to an encoder's logit of refusal.

Which short runs of tokens a reply holds tells much by itself, and a linear model learns phrases of many languages from
fewer examples than an encoder does (wide and deep learning, Cheng et al. 2016, https://arxiv.org/abs/1606.07792). A
checkpoint may bring such a table as `ngrams.safetensors`; what it adds to the logit is

    scale * (sum of the weights of all distinct n-grams) / sqrt(number of distinct n-grams)

over the n-grams of one to three tokens that lie between the last role tag of a reply and the closing special token.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from demur.errors import CheckpointError

FILE = "ngrams.safetensors"
LONGEST = 3
# An n-gram's bucket: its tokens' ids by these factors, and the offset of its length, modulo the number of buckets. The
# factors are odd and far apart, as for any multiplicative hash; bucket 0 of the table stands for no n-gram.
FACTORS = (2_654_435_761, 2_246_822_519, 3_266_489_917)
OFFSETS = (0, 7_919, 15_838)
_WEIGHTS, _SCALE, _AFTER = "weights", "scale", "after"


class Ngrams(NamedTuple):
    """What a checkpoint's `ngrams.safetensors` holds.

    Attributes:
        weights: int8 `[buckets + 1]`, the first of which is 0.
        scale: What the sum of weights is multiplied by.
        after: Id of the role tag that stands before a reply.
    """

    weights: NDArray[np.int8]
    scale: float
    after: int

    @property
    def buckets(self) -> int:
        """Number of buckets."""
        return len(self.weights) - 1

    def score(self, ids: NDArray[np.int64]) -> float:
        """Return what a text `[n]` adds to the logit of refusal."""
        found = places(ids, self.after, self.buckets)
        total = int(self.weights[found].astype(np.int32).sum())
        return float(np.float32(total) / np.sqrt(np.float32(max(1, len(found)))) * np.float32(self.scale))

    def save(self, folder: Path) -> None:
        """Write the table beside a checkpoint's weights."""
        tensors = {
            _WEIGHTS: self.weights,
            _SCALE: np.array([self.scale], np.float32),
            _AFTER: np.array([self.after], np.int64),
        }
        save_file(tensors, folder / FILE)


def read(folder: Path) -> Ngrams | None:
    """Return a checkpoint's table, None if it brings none.

    Raises:
        CheckpointError: The file can't be read, or is no such table.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors' own exception type is not exported in every version
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    expected = {_WEIGHTS: (np.int8, None), _SCALE: (np.float32, 1), _AFTER: (np.int64, 1)}
    if set(found) != set(expected):
        raise CheckpointError(f"{path}: has the tensors {sorted(found)}, expected {sorted(expected)}")
    for name, (kind, size) in expected.items():
        value = found[name]
        if value.dtype != kind or value.ndim != 1 or size not in (None, len(value)) or len(value) == 0:
            shape = "a vector" if size is None else f"{size} value"
            raise CheckpointError(
                f"{path}: {name} is {value.dtype} of shape {list(value.shape)}, expected {np.dtype(kind)}, {shape}"
            )
    weights, scale = found[_WEIGHTS], float(found[_SCALE][0])
    if len(weights) < 2 or weights[0] or not np.isfinite(scale):
        raise CheckpointError(
            f"{path}: {len(weights)} weights that begin with {weights[0]} and a scale of {scale}; expected at least 2 "
            "that begin with 0, and a finite scale"
        )
    return Ngrams(weights, scale, int(found[_AFTER][0]))


def places(ids: NDArray[np.int64], after: int, buckets: int) -> NDArray[np.int64]:
    """Return the distinct buckets, from 1, of a reply's n-grams.

    Args:
        ids: The text's token ids `[n]`, role tags and closing special token included.
        after: Id of the role tag before a reply; n-grams begin behind its last place. Without one there are none.
        buckets: Number of buckets.
    """
    tags = np.flatnonzero(ids == after)
    reply = ids[tags[-1] + 1 : -1] if len(tags) else ids[:0]
    hashed = [
        sum(reply[j : len(reply) - n + 1 + j] * FACTORS[j] for j in range(n)) + OFFSETS[n - 1]
        for n in range(1, min(LONGEST, len(reply)) + 1)
    ]
    return np.unique(np.concatenate(hashed) % buckets) + 1 if hashed else ids[:0]
