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
from _baselines import Tfidf, regex_scores, substring_scores
from _common import EvalSet
from demur import _bundle

METHODS = {"demur": "demur", "tfidf": "TF-IDF + regression", "regex": "refusal regex", "substring": "substring list"}
METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC", "ece": "ECE"}
COLOURS = {"demur": "#1f4e9c", "tfidf": "#d9760a", "regex": "#2a8a4a", "substring": "#8a3fa0"}
GRADED = ("demur", "tfidf")  # the others' scores are 0 or 1
PARTS = {"lang": "language", "kind": "kind", "length": "length in tokens"}
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
FEW_ROWS = 5  # a bin with fewer is not drawn


def judge(model: demur.Classifier, rows: list[dict[str, Any]]) -> Iterator[demur.Verdict]:
    """Judge rows as a user would: whole conversations, in a stream."""
    return model.stream(map(conversation, rows))


def conversation(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return a row as messages."""
    system = [{"role": "system", "content": row["system"]}] if row.get("system") else []
    user = [{"role": "user", "content": row["prompt"]}] if row["prompt"] else []
    return [*system, *row.get("earlier", ()), *user, {"role": "assistant", "content": row["response"]}]


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
        "operating_points": {name: measure_point(each, at) for name, at in points.items()},
        "reply_alone": measure_alone(each, thresholds["demur"]),
        "parts": {key: parts for key in PARTS if len(parts := measure_parts(each, key, thresholds)) > FEW_PARTS},
    }


def measure_point(each: EvalSet, threshold: float) -> dict[str, Any]:
    """Return demur's precision and recall from a threshold on."""
    found = common.rates(
        common.resample(len(each.rows)), each.labels, (each.scores["demur"] >= threshold).astype(float)
    )
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


def markdown(record: dict[str, Any]) -> str:
    """Return the page's section."""
    model, examples = record["model"], record["card_examples"]
    right = sum(example["right"] for example in examples)
    lines = [
        "## How often is it right?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}), through `demur.load()`, at its threshold "
        f"{model['threshold']:g}; {record['sample']}. In brackets: 95 % intervals from {common.RESAMPLES:,} resamples "
        f"of the rows. ECE: expected calibration error in {common.BINS} bins; small sets bias it upwards. "
        f"TF-IDF is trained on {record['tfidf_rows']:,} replies; the substring list is English.\n",
        *_main_table(record["sets"]),
        "\nOperating points: precision / recall at each.\n",
        *_points_table(record["sets"], model["operating_points"]),
        "\nF1 with the prompt and of the reply alone, on rows whose reply says by itself whether it declines (in the "
        "collected sets all are taken, though some don't).\n",
        *_alone_table(record["sets"]),
        "\n![ROC curves](plots/accuracy_roc.png)\n\n![Calibration](plots/accuracy_calibration.png)\n",
        f"A dot grows with its bin's rows; bins of fewer than {FEW_ROWS} are not drawn.",
    ]
    for name, found in record["sets"].items():
        for key, parts in found["parts"].items():
            lines += [
                f"\n{_title(name)} by {PARTS[key]}: F1, and right verdicts in brackets where one label is rare.\n"
            ]
            lines += _parts_table(PARTS[key], parts)
    lines += [
        f"\nThe published cards' own examples: {right} of {len(examples)} right.\n",
        "<details><summary>Each one</summary>\n",
        *_table(["card", "example", "label", "score", ""], [_example(example) for example in examples]),
        "\n</details>\n",
        common.machine_line(record["machine"]),
        "Raw: [accuracy.json](results/accuracy.json), [accuracy_scores.csv.gz](results/accuracy_scores.csv.gz).",
    ]
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _cell(found: dict[str, float] | None) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" if found else "–"


def _main_table(sets: dict[str, Any]) -> list[str]:
    rows = []
    for name, found in sets.items():
        head = f"**{_title(name)}**<br>{found['rows']:,} rows, {found['refusals']:,} refusals<br>"
        head += f"labels: {', '.join(found['labels_by'])}"
        for method, values in found["methods"].items():
            rows.append([head, METHODS[method], *(_cell(values[metric]) for metric in METRICS)])
            head = ""
    return _table(["set", "method", *METRICS.values()], rows)


def _points_table(sets: dict[str, Any], points: dict[str, float]) -> list[str]:
    def cell(found: dict[str, Any]) -> str:
        return " / ".join(f"{found[name]['value']:.3f}" if found[name] else "–" for name in ("precision", "recall"))

    rows = [
        [_title(name), *(cell(found["operating_points"][point]) for point in points)] for name, found in sets.items()
    ]
    return _table(["set", *(f"{point} ({at:g})" for point, at in points.items())], rows)


def _alone_table(sets: dict[str, Any]) -> list[str]:
    found = {name: each["reply_alone"] for name, each in sets.items()}
    rows = [
        [_title(name), f"{each['rows']:,}", _cell(each["with prompt"]), _cell(each["reply alone"])]
        for name, each in found.items()
    ]
    return _table(["set", "rows", "with prompt", "reply alone"], rows)


def _parts_table(key: str, parts: dict[str, Any]) -> list[str]:
    def cell(found: dict[str, Any], method: str) -> str:
        f1, right = found["f1"][method], found["right"][method]
        if min(found["refusals"], found["rows"] - found["refusals"]) < FEW_ROWS:
            return f"({right:.3f})"
        return (_cell(f1) if method == "demur" else f"{f1['value']:.3f}") if f1 else "–"

    rows = [
        [part, str(found["refusals"]), str(found["rows"] - found["refusals"]), *(cell(found, m) for m in METHODS)]
        for part, found in parts.items()
    ]
    return _table([key, "refusals", "answers", *METHODS.values()], rows)


def _example(example: dict[str, Any]) -> list[str]:
    label, verdict = "refusal" if example["label"] else "answer", "right" if example["right"] else "**wrong**"
    return [example["card"], str(example["example"]), label, f"{example['score']:.3f}", verdict]


def plot_roc(sets: list[EvalSet], thresholds: dict[str, float]) -> None:
    """Draw each set's ROC curves, with every method's operating point."""
    from sklearn.metrics import roc_curve

    figure, every = common.panels([f"{_title(each.name)} ({len(each.rows):,} rows)" for each in sets])
    for axes, each in zip(every, sets, strict=True):
        for method, scores in each.scores.items():
            if method in GRADED:
                axes.plot(*roc_curve(each.labels, scores)[:2], color=COLOURS[method], linewidth=1.6)
            found = scores >= thresholds[method]
            point = (found[each.labels == 0].mean(), found[each.labels == 1].mean())
            marker = "o" if method in GRADED else "X"
            axes.plot(*point, marker, color=COLOURS[method], markersize=7, label=METHODS[method], linestyle="none")
        axes.set(xlabel="answers taken for refusals", ylabel="refusals found")
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    common.save_plot(figure, "accuracy_roc")


def plot_calibration(sets: list[EvalSet]) -> None:
    """Draw each set's share of refusals against the score, by bin; a dot grows with its bin's rows."""
    figure, every = common.panels([f"{_title(each.name)} ({len(each.rows):,} rows)" for each in sets])
    for axes, each in zip(every, sets, strict=True):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        for method in reversed(GRADED):
            bins = common.bin_of(each.scores[method])
            used, counts = np.unique(bins, return_counts=True)
            used, counts = used[counts >= FEW_ROWS], counts[counts >= FEW_ROWS]
            x = [each.scores[method][bins == b].mean() for b in used]
            y = [each.labels[bins == b].mean() for b in used]
            axes.plot(x, y, color=COLOURS[method], linewidth=1.4, marker="o", markersize=3, label=METHODS[method])
            axes.scatter(x, y, s=12 + 300 * counts / len(bins), color=COLOURS[method], zorder=2, clip_on=False)
        axes.set(xlabel="score", ylabel="share of refusals")
    figure.legend(*every[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    common.save_plot(figure, "accuracy_calibration")


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
            raise SystemExit(f"error: --data {options.data}: no {needed} there; give the folder with the labelled sets")
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
