"""Finds collected rows whose labels are probably wrong: two models that learnt from the others say so.

python models/training/suspects.py --data DATA/train.jsonl.gz --checkpoint CHECKPOINT

A linear model of character n-grams is trained on four fifths of the rows and judges the fifth, five times over
(cross-validation, folds by prompt). Where it would give the other label, a checkpoint judges too; it may have learnt
from these very labels, so what it gives less than `DOUBT` even so is suspect. `suspects.json` gets their
digests, never their texts, and training leaves them out.
"""

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from transformers import BertForSequenceClassification

from data import SUSPECTS, Example, Row, digest, encode, fold_of, read, split, turns_of
from demur._tokenizer import Tokenizer
from train import pad

FOLDS = 5
DOUBT = 0.1  # probability given to the label
BATCH = 16


def main() -> None:
    """Judge the rows twice and write the digests of the suspects."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl.gz")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a trained one")
    options = parser.parse_args()
    rows, _ = split(read(options.data))
    linear = cross_validated(rows)
    doubted = [row for row, p in zip(rows, linear, strict=True) if p < 0.5]
    print(f"{len(doubted)} of {len(rows)} labels doubted by the linear model", flush=True)
    suspects = [row for row, p in zip(doubted, judged(doubted, options.checkpoint), strict=True) if p < DOUBT]
    counts = Counter(f"{row.lang} {row.kind} {row.label}" for row in suspects)
    SUSPECTS.write_text(json.dumps(sorted({digest(row) for row in suspects}), indent=0) + "\n", encoding="utf-8")
    print(f"{len(suspects)} suspects: {json.dumps(dict(counts.most_common()), ensure_ascii=False)}")


def cross_validated(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the probability that a linear model trained on the other folds gives each row's label."""
    labels, folds = np.array([row.label for row in rows]), np.array([fold_of(row, FOLDS) for row in rows])
    weights, texts = np.array([row.weight for row in rows]), [row.response for row in rows]
    found = np.zeros(len(rows))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        model = make_pipeline(
            HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), n_features=2**21, alternate_sign=False),
            SGDClassifier(loss="log_loss", alpha=1e-6, random_state=fold, max_iter=20),
        )
        model.fit([texts[i] for i in outside], labels[outside], sgdclassifier__sample_weight=weights[outside])
        chances = model.predict_proba([texts[i] for i in inside])
        found[inside] = chances[np.arange(len(inside)), labels[inside]]
    return found


def judged(rows: Sequence[Row], checkpoint: Path) -> list[float]:
    """Return the probability that a checkpoint gives each row's label, at 512 tokens."""
    tokenizer = Tokenizer(checkpoint / "tokenizer.json")
    items = [Example(encode(turns_of(row), tokenizer, 512), row.label, row.weight) for row in rows]
    order = sorted(range(len(items)), key=lambda i: len(items[i].ids))
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()
    found = [0.0] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            tokens, mask = pad([items[i] for i in places])
            chances = model(input_ids=tokens, attention_mask=mask).logits.softmax(1)
            for i, chance in zip(places, chances.tolist(), strict=True):
                found[i] = chance[items[i].label]
    return found


if __name__ == "__main__":
    main()
