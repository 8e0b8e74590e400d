"""Sets a checkpoint's temperature and operating points on held-out conversations.

python models/training/calibrate.py --data DATA/train.jsonl.gz --checkpoint CHECKPOINT --out CALIBRATED

The temperature (Guo et al. 2017, https://arxiv.org/abs/1706.04599) divides the classifier's weights and those of a
table of n-grams, so that nothing that reads the checkpoint needs to know of it; the operating points go into
`config.json`, where `demur-export` looks.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertForSequenceClassification

from data import Row, encode, read, read_authored, split, turns_of
from demur._tokenizer import Tokenizer
from demur_export import ngrams

# A collected label below this weight is a guess of a keyword or of the prompt's kind.
_TRUSTED = 1.0
_AIM = 0.98
_TEMPERATURES = np.exp(np.linspace(np.log(0.4), np.log(4), 200))

Array = NDArray[np.float64]


def main() -> None:
    """Measure, and save a calibrated copy."""
    options = parse()
    tokenizer = Tokenizer(options.checkpoint / "tokenizer.json")
    model = BertForSequenceClassification.from_pretrained(options.checkpoint).eval()
    parts, y, weights = validation(options.data)
    z, table = margins(model, tokenizer, parts), ngrams.read(options.checkpoint)
    if table is not None:
        z += added(table, tokenizer, parts)
    t = temperature(z, y, weights)
    points = {"balanced": 0.5, **operating_points(z / t, y, weights)}
    shutil.copytree(options.checkpoint, options.out, dirs_exist_ok=True)
    with torch.no_grad():
        model.classifier.weight /= t
        model.classifier.bias /= t
    model.config.operating_points = points
    model.save_pretrained(options.out)
    if table is not None:
        table._replace(scale=table.scale / t).save(options.out)
    print(json.dumps({"temperature": round(t, 4), "rows": [len(rows) for rows in parts], "operating points": points}))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="train.jsonl.gz")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the calibrated checkpoint")
    return parser.parse_args()


def validation(path: Path) -> tuple[list[list[Row]], NDArray[np.int64], Array]:
    """Return the held-out rows, collected and authored ones, their labels, and weights.

    Each of the two parts counts alike, however many rows it has; the weights' sum is 1.
    """
    collected = [row for row in split(read(path))[1] if row.weight >= _TRUSTED]
    parts = [collected, read_authored()[1]]
    labels = np.array([row.label for rows in parts for row in rows])
    return parts, labels, np.concatenate([np.full(len(rows), 0.5 / len(rows)) for rows in parts])


def margins(model: BertForSequenceClassification, tokenizer: Tokenizer, parts: list[list[Row]]) -> Array:
    """Return by how much the encoder's logit of refusal is above the other's, for each row as it stands."""
    found = []
    with torch.inference_mode():
        for row in (row for rows in parts for row in rows):
            ids = torch.tensor([encode(turns_of(row), tokenizer, model.config.max_position_embeddings)])
            logits = model(input_ids=ids).logits[0]
            found.append(float(logits[1] - logits[0]))
    return np.array(found)


def added(table: ngrams.Ngrams, tokenizer: Tokenizer, parts: list[list[Row]]) -> Array:
    """Return what a table of n-grams adds to each row's margin."""
    rows = (row for rows in parts for row in rows)
    return np.array([table.score(np.array(encode(turns_of(row), tokenizer, 512))) for row in rows])


def temperature(z: Array, y: NDArray[np.int64], weights: Array) -> float:
    """Return the temperature of the least weighted cross-entropy."""
    losses = [float(weights @ np.logaddexp(0, np.where(y == 1, -z, z) / t)) for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def operating_points(z: Array, y: NDArray[np.int64], weights: Array) -> dict[str, float]:
    """Return the thresholds of a precision and of a recall of at least 0.98.

    `high-precision` is the lowest threshold of such a precision, `high-recall` the highest of such a recall, in steps
    of a thousandth.
    """
    p = 1 / (1 + np.exp(-z))
    grid = np.arange(1, 1000) / 1000
    said = p[:, None] >= grid
    hits = (weights * (y == 1)) @ said
    precision = hits / np.maximum(weights @ said, 1e-12)
    recall = hits / float(weights @ (y == 1))
    precise = np.flatnonzero(precision >= _AIM)
    if not len(precise):
        raise SystemExit(f"no threshold has a precision of {_AIM}; the best is {precision.max():.3f}")
    recalled = np.flatnonzero(recall >= _AIM)
    return {"high-precision": float(grid[precise[0]]), "high-recall": float(grid[recalled[-1]])}


if __name__ == "__main__":
    main()
