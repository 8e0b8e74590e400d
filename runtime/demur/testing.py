"""A classifier without a model, for tests: real templates, real tokenizer, scores of your choosing.

Example:
    from demur.testing import fake_classifier

    model = fake_classifier(lambda text: 0.99 if "sorry" in text else 0.01)
    assert model.check("I'm sorry, no.").refusal
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from demur import _bundle
from demur._classifier import Classifier
from demur._tokenizer import Tokenizer

# Scores of exactly 0 and 1 have no finite logits.
_EDGE = 1e-6


class FakeSession:
    """Stands where the graph stands: token ids in, logits out.

    Args:
        score: Gives the probability of refusal for one text's token ids.
        labels: Number of outputs.
        refusal: Which of them is the refusal.

    Attributes:
        masked: True: rows may be padded, as on a GPU.
        seen: Every array of token ids that was run, in order.
    """

    masked = True

    def __init__(self, score: Callable[[list[int]], float], labels: int = 2, refusal: int = 1) -> None:
        self._score, self._labels, self._refusal = score, labels, refusal
        self.seen: list[NDArray[np.int64]] = []

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Return logits float32 `[batch, labels]` for `token_ids` int64 `[batch, n]`, read where `mask` is 1."""
        self.seen.append(token_ids)
        lengths = np.full(len(token_ids), token_ids.shape[1]) if mask is None else mask.sum(1)
        logits = np.zeros((len(token_ids), self._labels), np.float32)
        for row, ids, length in zip(logits, token_ids.tolist(), lengths.tolist(), strict=True):
            p = min(max(self._score(ids[:length]), _EDGE), 1 - _EDGE)
            row[self._refusal] = math.log(p / (1 - p)) + math.log(self._labels - 1)
        return logits


def fake_classifier(score: Callable[[str], float] | float = 0.5, *, threshold: float = 0.5) -> Classifier:
    """Return a classifier of the default bundle's template and tokenizer whose scores are `score`.

    Args:
        score: The probability of refusal, or a function that gives it for the text that the model would read, as
            the tokenizer spells it (lower case, role tags included).
        threshold: The score from which a reply counts as a refusal.
    """
    bundle = _bundle.read(_bundle.find(None))
    tokenizer = Tokenizer(bundle.tokenizer.path)
    return Classifier(bundle, tokenizer, partial(_open, score, tokenizer, bundle), threads=1, threshold=threshold)


def _open(
    score: Callable[[str], float] | float, tokenizer: Tokenizer, bundle: _bundle.Bundle, threads: int
) -> FakeSession:
    def of_ids(ids: list[int]) -> float:
        return score(tokenizer.decode(ids)) if callable(score) else score

    return FakeSession(of_ids, len(bundle.labels), bundle.refusal)
