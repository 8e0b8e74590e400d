"""Trains a table of n-gram weights beside a checkpoint, whose logit of refusal they are added to.

python models/training/ngrams.py --data DATA/train.jsonl.gz --checkpoint CHECKPOINT --out OUT

Logistic regression on the distinct n-grams of a reply (`demur_export.ngrams`), averaged stochastic gradient descent,
rows reshaped and elided as for the encoder. How much either part counts is fitted on validation rows.
"""

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.linear_model import SGDClassifier
from transformers import BertForSequenceClassification

from calibrate import Array, added, margins, validation
from data import TEMPLATE, Row, encode, pick, read, read_authored, split, turns_of
from demur._tokenizer import Tokenizer
from demur_export.ngrams import Ngrams, places
from reshape import close, reshape

# A prime, so that buckets fill evenly; one byte each.
BUCKETS = 524_287
COPIES = 2
BUDGETS = (160, 256, 512)
AUTHORED = 3.0
L2, PASSES = 3e-6, 10
LARGEST = 127


def main() -> None:
    """Train, fit and save a copy of the checkpoint with its table."""
    options = parse()
    tokenizer = Tokenizer(options.checkpoint / "tokenizer.json")
    table = train(read(options.data), tokenizer, options.seed)
    model = BertForSequenceClassification.from_pretrained(options.checkpoint).eval()
    parts, y, weights = validation(options.data)
    encoder, beside = margins(model, tokenizer, parts), added(table, tokenizer, parts)
    a, b, c = combine(encoder, beside, y, weights)
    shutil.copytree(options.checkpoint, options.out, dirs_exist_ok=True)
    with torch.no_grad():
        model.classifier.weight *= a
        model.classifier.bias *= a
        model.classifier.bias[1] += c
    model.save_pretrained(options.out)
    table._replace(scale=table.scale * b).save(options.out)
    right = [float(weights @ ((z > 0) == y)) for z in (encoder, beside, a * encoder + b * beside + c)]
    record = {"encoder": a, "n-grams": b, "bias": c, "validation": [round(share, 4) for share in right]}
    print(json.dumps(record | {"accuracies": "encoder, n-grams, both"}))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl.gz")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a trained one")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint with its table")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


def train(rows: list[Row], tokenizer: Tokenizer, seed: int) -> Ngrams:
    """Return a table trained on collected rows and the authored ones."""
    rng = random.Random(seed)
    after = tokenizer.added[TEMPLATE.roles["assistant"]]
    collected = pick(split(rows)[0], rng)
    sets = [
        ([close(row, rng) for row in read_authored()[0]], AUTHORED),
        *((reshape(collected, rng), 1 / COPIES) for _ in range(COPIES)),
    ]
    weighed = [(row, row.weight * weight) for some, weight in sets for row in some]
    texts = (np.array(encode(turns_of(row)[-1:], tokenizer, rng.choice(BUDGETS))) for row, _ in weighed)
    model = SGDClassifier(loss="log_loss", alpha=L2, max_iter=PASSES, tol=None, average=True, random_state=seed)
    model.fit(
        matrix([places(ids, after, BUCKETS) for ids in texts]),
        [row.label for row, _ in weighed],
        sample_weight=[weight for _, weight in weighed],
    )
    scale = float(np.abs(model.coef_).max()) / LARGEST
    weights = np.concatenate([[0], np.rint(model.coef_[0] / scale)])
    return Ngrams(weights.astype(np.int8), scale, after)


def matrix(found: Sequence[NDArray[np.int64]]) -> csr_matrix:
    """Return rows `[texts, buckets]` of 1 / sqrt(number of distinct n-grams) at each n-gram's place."""
    ends = np.cumsum([0, *(len(one) for one in found)])
    values = np.concatenate([np.full(len(one), 1 / np.sqrt(max(1, len(one)))) for one in found])
    return csr_matrix((values, np.concatenate(found) - 1, ends), shape=(len(found), BUCKETS))


def combine(encoder: Array, beside: Array, y: NDArray[np.int64], weights: Array) -> tuple[float, float, float]:
    """Return the factors of both parts and the bias with the least weighted cross-entropy."""

    def loss(x: Array) -> float:
        z = x[0] * encoder + x[1] * beside + x[2]
        return float(weights @ np.logaddexp(0, np.where(y == 1, -z, z)))

    a, b, c = minimize(loss, np.array([1.0, 0.5, 0.0]), method="Nelder-Mead").x
    return float(a), float(b), float(c)


if __name__ == "__main__":
    main()
