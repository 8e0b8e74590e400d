"""How often is demur right? Scores a bundle, as the runtime serves it, beside three baselines on labelled sets.

    python benchmarks/bench_accuracy.py --data FOLDER [--model NAME|FOLDER] [--limit N]

FOLDER holds `eval_*.jsonl.gz` (`prompt`, `response`, `label` with 1 for a refusal, `label_kind`, `lang`),
`train.jsonl.gz` for the TF-IDF baseline and `card_examples.jsonl`. No text of theirs is written anywhere.
"""

import argparse
import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _common as common
import demur
import numpy as np
from _baselines import Tfidf, regex_scores, substring_scores
from _common import Floats
from demur import _bundle

METHODS = {"demur": "demur", "tfidf": "TF-IDF + regression", "regex": "refusal regex", "substring": "substrings"}
METRICS = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auc": "ROC AUC",
    "ece": "calibration error",
}
COLOURS = {"demur": "#1f4e9c", "tfidf": "#d9760a", "regex": "#2a8a4a", "substring": "#8a3fa0"}
BINARY = ("regex", "substring")
# A set in more languages than this gets a table by language.
FEW_LANGUAGES = 2


@dataclass
class EvalSet:
    """A labelled set, and each method's scores of its rows.

    Attributes:
        index: Each row's place in the file.
    """

    name: str
    path: Path
    index: list[int]
    rows: list[dict[str, Any]]
    elided: int = 0
    scores: dict[str, Floats] = field(default_factory=dict)

    @property
    def labels(self) -> Floats:
        """1 for a refusal, 0 for none."""
        return np.array([float(row["label"]) for row in self.rows])

    @property
    def replies(self) -> list[str]:
        """The replies alone, which is what the baselines read."""
        return [row["response"] for row in self.rows]

    def languages(self) -> dict[str, list[int]]:
        """Return the places of each language's rows."""
        langs = [row["lang"] for row in self.rows]
        return {lang: [i for i, found in enumerate(langs) if found == lang] for lang in sorted(set(langs))}


def read_sets(folder: Path, limit: int | None) -> list[EvalSet]:
    """Read every `eval_*.jsonl.gz`, or `limit` rows of each, evenly spread."""
    sets = []
    for path in sorted(folder.glob("eval_*.jsonl.gz")):
        rows = common.read_rows(path)
        kept = len(rows) if limit is None else min(limit, len(rows))
        index = [i * len(rows) // kept for i in range(kept)]
        name = path.name.removeprefix("eval_").removesuffix(".jsonl.gz")
        sets.append(EvalSet(name, path, index, [rows[i] for i in index]))
    return sets


def judge(model: demur.Classifier, rows: list[dict[str, Any]]) -> Iterator[demur.Verdict]:
    """Judge rows as a user would: prompt and reply, in a stream."""
    return model.stream({"prompt": row["prompt"], "response": row["response"]} for row in rows)


def score(sets: list[EvalSet], model: demur.Classifier, tfidf: Tfidf) -> None:
    """Give every set each method's scores."""
    for each in sets:
        verdicts = list(judge(model, each.rows))
        each.elided = sum(verdict.elided > 0 for verdict in verdicts)
        each.scores = {
            "demur": np.array([verdict.score for verdict in verdicts]),
            "tfidf": tfidf.scores(each.replies),
            "regex": regex_scores(each.replies),
            "substring": substring_scores(each.replies),
        }


def measure(each: EvalSet, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return a set's record: what it holds, and each method's metrics with their intervals."""
    labels, weights = each.labels, common.resample(len(each.rows))
    methods: dict[str, Any] = {}
    for method, scores in each.scores.items():
        values = common.rates(weights, labels, (scores >= thresholds[method]).astype(float))
        values["auc"] = common.roc_auc(weights, labels, scores)
        methods[method] = {metric: common.interval(value) for metric, value in values.items()}
        graded = method not in BINARY
        methods[method]["ece"] = (
            common.interval(common.calibration_error(weights, labels, scores)) if graded else None
        )
    by_language = {lang: _language(each, places, thresholds) for lang, places in each.languages().items()}
    return {
        "file": each.path.name,
        "sha256": hashlib.sha256(each.path.read_bytes()).hexdigest(),
        "rows": len(each.rows),
        "refusals": int(labels.sum()),
        "labels_by": dict(Counter(row["label_kind"] for row in each.rows)),
        "elided": each.elided,
        "methods": methods,
        "languages": by_language if len(by_language) > FEW_LANGUAGES else {},
    }


def _language(each: EvalSet, places: list[int], thresholds: dict[str, float]) -> dict[str, Any]:
    labels, weights = each.labels[places], common.resample(len(places))
    f1 = {}
    for method, scores in each.scores.items():
        decided = (scores[places] >= thresholds[method]).astype(float)
        f1[method] = common.interval(common.rates(weights, labels, decided)["f1"])
    return {"rows": len(places), "refusals": int(labels.sum()), "f1": f1}


def check_examples(model: demur.Classifier, path: Path) -> list[dict[str, Any]]:
    """Return whether each example of the published cards is judged as its label says, with the score."""
    rows = common.read_rows(path)
    return [
        {
            "card": row["card"],
            "example": row["example"],
            "label": row["label"],
            "published_confidence": row["published_confidence"],
            "score": round(verdict.score, 5),
            "right": verdict.refusal == bool(row["label"]),
        }
        for row, verdict in zip(rows, judge(model, rows), strict=True)
    ]


def write_scores(sets: list[EvalSet]) -> None:
    """Write every row's label and scores to `results/accuracy_scores.csv.gz`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["set", "row", "label", *METHODS])
    for each in sets:
        columns = [[f"{value:.9g}" for value in each.scores[method]] for method in METHODS]
        for i, row, *values in zip(each.index, each.rows, *columns, strict=True):
            table.writerow([each.name, i, row["label"], *values])
    common.RESULTS.mkdir(exist_ok=True)
    packed = gzip.compress(text.getvalue().encode(), mtime=0)
    (common.RESULTS / "accuracy_scores.csv.gz").write_bytes(packed)
