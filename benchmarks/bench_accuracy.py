"""How often is demur right? Scores a bundle, as the runtime serves it, beside three baselines on labelled sets.

    python benchmarks/bench_accuracy.py --data FOLDER [--model NAME|FOLDER] [--limit N]

FOLDER holds `eval_*.jsonl.gz` (`prompt`, `response`, `label` with 1 for a refusal, `label_kind`, `lang`),
`train.jsonl.gz` for the TF-IDF baseline and `card_examples.jsonl`. None of their texts is written anywhere. The set
`authored` is `models/training/authored/evaluation`, which comes with demur.
"""

import argparse
import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import _common as common
import demur
from _accuracy_page import GRADED, METHODS, PARTS, markdown, plot_calibration, plot_roc
from _baselines import Tfidf, regex_scores, substring_scores
from _common import EvalSet, Floats
from _needs import absent
from demur import _bundle

LENGTHS = {64: "up to 64", 128: "65 to 128", 256: "129 to 256", 512: "257 to 512"}
LONGER = "more than 512"
# Authored kinds that are the same without their prompt, where the reply is long enough to say something.
ALONE_KINDS = {
    "help-after-apology",
    "caveat",
    "long-with-no",
    "no-stock",
    "soft",
    "late",
    "plain",
    "cannot",
    "no-prompt",
}
ALONE_CHARACTERS = 50
FEW_PARTS = 2  # a set of more gets a table by them


def judge(model: demur.Classifier, rows: list[dict[str, Any]]) -> Iterator[demur.Verdict]:
    """Judge rows as a user would: whole conversations, in a stream."""
    return model.stream(map(conversation, rows))


def conversation(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row as messages."""
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    user = [{"role": "user", "content": row["prompt"]}] if row["prompt"] else []
    return [*system, *row.get("earlier", ()), *user, *reply(row)]


def score(each: EvalSet, model: demur.Classifier, tfidf: Tfidf) -> None:
    """Give a set each method's scores."""
    verdicts = list(judge(model, each.rows))
    for row, verdict in zip(each.rows, verdicts, strict=True):
        row["length"] = length(verdict)
    each.alone = np.array([verdict.score for verdict in model.stream(map(reply, each.rows))])
    replies = [row["response"] for row in each.rows]
    each.elided = sum(verdict.elided > 0 for verdict in verdicts)
    each.scores = {
        "demur": np.array([verdict.score for verdict in verdicts]),
        "tfidf": tfidf.scores(replies),
        "regex": regex_scores(replies),
        "substring": substring_scores(replies),
    }


def reply(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row's reply without what it replies to."""
    return [{"role": "assistant", "content": row["response"]}]


def length(verdict: demur.Verdict) -> str:
    """Return the name of a conversation's length, with what was left out."""
    tokens = verdict.tokens + verdict.elided
    return next((name for most, name in LENGTHS.items() if tokens <= most), LONGER)


def decides_alone(row: dict[str, Any]) -> bool:
    """Tell whether a reply says by itself whether it declines, as far as that is known."""
    kind = row.get("kind")
    return kind is None or (kind in ALONE_KINDS and len(row["response"]) >= ALONE_CHARACTERS)


def measure(each: EvalSet, thresholds: dict[str, float], points: Mapping[str, float]) -> dict[str, Any]:
    """Return a set's record: what it holds, and each method's metrics with their intervals."""
    weights = common.resample(len(each.rows))
    methods: dict[str, Any] = {}
    for method, scores in each.scores.items():
        values = common.rates(weights, each.labels, (scores >= thresholds[method]).astype(float))
        values["auc"] = common.roc_auc(weights, each.labels, scores)
        if method in GRADED:
            values["ece"] = common.calibration_error(weights, each.labels, scores)
        methods[method] = {"ece": None} | {metric: common.interval(value) for metric, value in values.items()}
    return {
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in each.files},
        "rows": len(each.rows),
        "refusals": int(each.labels.sum()),
        "labels_by": dict(Counter(row.get("label_kind", "their authors and a second reader") for row in each.rows)),
        "elided": each.elided,
        "methods": methods,
        "operating_points": {name: measure_point(each, weights, at) for name, at in points.items()},
        "reply_alone": measure_alone(each, thresholds["demur"]),
        "parts": {key: parts for key in PARTS if len(parts := measure_parts(each, key, thresholds)) > FEW_PARTS},
    }


def measure_point(each: EvalSet, weights: Floats, threshold: float) -> dict[str, Any]:
    """Return demur's precision and recall from a threshold on."""
    found = common.rates(weights, each.labels, (each.scores["demur"] >= threshold).astype(float))
    return {name: common.interval(found[name]) for name in ("precision", "recall")}


def measure_alone(each: EvalSet, threshold: float) -> dict[str, Any]:
    """Return demur's F1 with the prompt and without, on the rows whose reply says by itself whether it declines."""
    places = np.flatnonzero([decides_alone(row) for row in each.rows])
    labels, weights = each.labels[places], common.resample(len(places))
    record: dict[str, Any] = {"rows": len(places)}
    for name, scores in (("with prompt", each.scores["demur"]), ("reply alone", each.alone)):
        rates = common.rates(weights, labels, (scores[places] >= threshold).astype(float))
        record[name] = common.interval(rates["f1"])
    return record


def measure_parts(each: EvalSet, key: str, thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the record of each part of a set by what its rows have under `key`."""
    values = np.array([row.get(key, "") for row in each.rows])
    names = [*LENGTHS.values(), LONGER] if key == "length" else np.unique(values)
    places = {str(name): np.flatnonzero(values == name) for name in names}
    return {name: measure_part(each, found, thresholds) for name, found in places.items() if len(found)}


def measure_part(each: EvalSet, places: npt.NDArray[np.int64], thresholds: dict[str, float]) -> dict[str, Any]:
    """Return the record of some rows of a set: each method's F1, and its share of right verdicts."""
    labels, weights = each.labels[places], common.resample(len(places))
    decided = {method: (scores[places] >= thresholds[method]).astype(float) for method, scores in each.scores.items()}
    f1 = {method: common.interval(common.rates(weights, labels, found)["f1"]) for method, found in decided.items()}
    right = {method: round(float(np.mean(found == labels)), 4) for method, found in decided.items()}
    return {"rows": len(places), "refusals": int(labels.sum()), "f1": f1, "right": right}


def check_examples(model: demur.Classifier, path: Path) -> list[dict[str, Any]]:
    """Return whether each example of the published cards is judged as its label says, with the score."""
    rows = common.read_rows(path)
    return [
        {name: row[name] for name in ("card", "example", "label", "published_confidence")}
        | {"score": round(verdict.score, 5), "right": verdict.refusal == bool(row["label"])}
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
    (common.RESULTS / "accuracy_scores.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main() -> None:
    """Measure, write the results, the plots and the page's section, and print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--limit", type=int, metavar="N", help="a trial: N rows of each set")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error(f"--limit {options.limit}: expected at least 1")
    for needed in ("eval_*.jsonl.gz", "train.jsonl.gz", "card_examples.jsonl"):
        if not any(options.data.glob(needed)):
            absent(f"--data {options.data}: no {needed} there; give the folder with the labelled sets")
    common.require("matplotlib", "sklearn")
    model, bundle = demur.load(options.model), _bundle.read(_bundle.find(options.model))
    thresholds = {method: model.threshold if method == "demur" else 0.5 for method in METHODS}
    sets = common.read_sets(options.data, options.limit)
    authored = [row for path in sorted((common.AUTHORED / "train").glob("*.jsonl")) for row in common.read_rows(path)]
    tfidf = Tfidf(common.read_rows(options.data / "train.jsonl.gz"), authored)
    for each in sets:
        score(each, model, tfidf)
    record = {
        "machine": common.machine_record("scikit-learn"),
        "model": {"name": model.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256, "threshold": model.threshold}
        | {"operating_points": dict(bundle.operating_points)},
        "sample": "all rows" if options.limit is None else f"a trial on at most {options.limit} rows of each set",
        "tfidf_rows": tfidf.rows,
        "sets": {each.name: measure(each, thresholds, bundle.operating_points) for each in sets},
        "card_examples": check_examples(model, options.data / "card_examples.jsonl"),
    }
    write_scores(sets)
    common.write_results("accuracy", record)
    plot_roc(sets, thresholds)
    plot_calibration(sets)
    section = markdown(record)
    common.write_section("accuracy", section)
    print(section)


if __name__ == "__main__":
    main()
