"""Weights to int8 with a scale for each column, and activations to uint8 with one for each row or one fixed ahead."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The gram matrix's diagonal is raised by this part of its mean, and by more the fewer rows it was made of: what few
# rows don't show must not be bought with errors elsewhere. 0.01 is GPTQ's; the second was chosen on held-out texts.
_DAMPING = 0.01
_FEW_ROWS = 0.1
# Rows that are rounded one after the other; of more, all that follow are made up for at once.
_FEW = 8


class Gram(NamedTuple):
    """The mean of x xT over the rows x of a product's input, and how many rows there were."""

    matrix: NDArray[np.float64]  # [inputs, inputs]
    rows: int

    def smoothed(self, scale: NDArray[np.float32]) -> "Gram":
        """Return the gram of the same rows divided by `scale`."""
        return Gram(self.matrix / np.outer(scale, scale), self.rows)


class Rounded(NamedTuple):
    """A weight `[inputs, outputs]` as `steps * scale`."""

    steps: NDArray[np.int8]
    scale: NDArray[np.float32]  # [outputs]


class Steps(NamedTuple):
    """How an input becomes uint8 with a scale fixed ahead: `round(x / size) + zero`, held to 0..255."""

    size: np.float32
    zero: np.uint8

    @classmethod
    def between(cls, lowest: float, highest: float) -> "Steps":
        """Return the finest steps that reach from `lowest` to `highest`, and zero."""
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        size = max((highest - lowest) / 255, 1e-12)
        return cls(np.float32(size), np.uint8(np.clip(np.rint(-lowest / size), 0, 255)))

    def round(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `rows` as the graph reads them back."""
        zero = np.float32(self.zero)
        return np.asarray((np.clip(np.rint(rows / self.size) + zero, 0, 255) - zero) * self.size, np.float32)


def round_rows(rows: NDArray[np.float32], lift: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return `rows` as the graph reads them back from uint8: one scale a row, around zero or, lifted, from zero up."""
    if lift is None:
        scale = np.maximum(np.abs(rows).max(1, keepdims=True) / 127, 1e-12)
        return np.asarray(np.rint(rows / scale) * scale, np.float32)
    lifted = rows + lift
    scale = np.maximum(lifted.max(1, keepdims=True) / 255, 1e-12)
    return np.asarray(np.clip(np.rint(lifted / scale), 0, 255) * scale - lift, np.float32)


def nearest(weight: NDArray[np.float32]) -> Rounded:
    """Round each weight to the nearest step."""
    scale = _scale(weight)
    return Rounded(np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale)


def rounded(weight: NDArray[np.float32], gram: Gram | None) -> Rounded:
    """Return `weight` rounded as `compensated` does, or without a gram to the nearest steps."""
    return nearest(weight) if gram is None else compensated(weight, gram)


def compensated(weight: NDArray[np.float32], gram: Gram) -> Rounded:
    """Round row by row, and let the rows not yet rounded make up for each row's error.

    This is GPTQ (Frantar et al. 2022, https://arxiv.org/abs/2210.17323): it lowers the error of x @ weight over the
    inputs that `gram` was made of, not that of the weights. Rows of the strongest inputs come first.
    """
    scale = _scale(weight)
    order = np.argsort(-np.diag(gram.matrix))
    matrix = gram.matrix[np.ix_(order, order)]
    damping = _DAMPING + _FEW_ROWS * len(weight) / gram.rows
    matrix = matrix + damping * max(float(np.mean(np.diag(matrix))), 1e-12) * np.eye(len(weight))
    upper = np.linalg.cholesky(np.linalg.inv(matrix)).T
    left = weight[order].astype(np.float64)
    steps, errors = np.empty_like(left), np.empty_like(left)

    def settle(start: int, end: int) -> None:
        if end - start > _FEW:
            # subtle: by halves, so that most of the work is done by matrix products, whatever the caches hold.
            middle = (start + end) // 2
            settle(start, middle)
            left[middle:end] -= upper[start:middle, middle:end].T @ errors[start:middle]
            settle(middle, end)
            return
        for i in range(start, end):
            steps[i] = np.clip(np.rint(left[i] / scale), -127, 127)
            errors[i] = (left[i] - steps[i] * scale) / upper[i, i]
            left[i + 1 : end] -= np.outer(upper[i, i + 1 : end], errors[i])

    settle(0, len(left))
    return Rounded(steps[np.argsort(order)].astype(np.int8), scale)


def _scale(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    scale: NDArray[np.float32] = np.maximum(np.abs(weight).max(0) / 127, 1e-12).astype(np.float32)
    return scale
