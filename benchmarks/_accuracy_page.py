"""How the accuracy benchmark says what it found: the page's section, and the plots."""

from typing import Any

import numpy as np

import _common as common
from _common import EvalSet
from _report import table

METHODS = {"demur": "demur", "tfidf": "TF-IDF + regression", "regex": "refusal regex", "substring": "substring list"}
METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "auc": "AUC", "ece": "ECE"}
COLOURS = {"demur": "#1f4e9c", "tfidf": "#d9760a", "regex": "#2a8a4a", "substring": "#8a3fa0"}
GRADED = ("demur", "tfidf")  # the others' scores are 0 or 1
PARTS = {"lang": "language", "kind": "kind", "length": "length in tokens"}
FEW_ROWS = 5  # a bin with fewer is not drawn


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
        *table(["card", "example", "label", "score", ""], [_example(example) for example in examples]),
        "\n</details>\n",
        common.machine_line(record["machine"]),
        "Raw: [accuracy.json](results/accuracy.json), [accuracy_scores.csv.gz](results/accuracy_scores.csv.gz).",
    ]
    return "\n".join(lines)


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
    return table(["set", "method", *METRICS.values()], rows)


def _points_table(sets: dict[str, Any], points: dict[str, float]) -> list[str]:
    def cell(found: dict[str, Any]) -> str:
        return " / ".join(f"{found[name]['value']:.3f}" if found[name] else "–" for name in ("precision", "recall"))

    rows = [
        [_title(name), *(cell(found["operating_points"][point]) for point in points)] for name, found in sets.items()
    ]
    return table(["set", *(f"{point} ({at:g})" for point, at in points.items())], rows)


def _alone_table(sets: dict[str, Any]) -> list[str]:
    found = {name: each["reply_alone"] for name, each in sets.items()}
    rows = [
        [_title(name), f"{each['rows']:,}", _cell(each["with prompt"]), _cell(each["reply alone"])]
        for name, each in found.items()
    ]
    return table(["set", "rows", "with prompt", "reply alone"], rows)


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
    return table([key, "refusals", "answers", *METHODS.values()], rows)


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
