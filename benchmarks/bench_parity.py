"""How close is a bundle to the PyTorch checkpoint that it was made from?

    python benchmarks/bench_parity.py --checkpoint FOLDER [--model NAME|FOLDER] [--data FOLDER] [--texts N]

PyTorch's fp32 logits against those of the runtime's verdicts, text by text, on real conversations of all lengths.
--data holds `eval_*.jsonl.gz` and `train.jsonl.gz` (`prompt`, `response`); without them demur's own corpus is used.
None of their texts is written anywhere.
"""

import argparse
import csv
import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import _common as common
import _near
import _source
import demur
from _common import Floats
from _report import Target, table, targets_table
from _texts import Pool, Sample, buckets, draw, read_pool
from demur import _bundle, _machine
from demur._bundle import Bundle
from demur._verdict import probability
from demur.errors import CheckpointError
from demur_export import checkpoint, parity
from demur_export.checkpoint import Checkpoint

FEW_TEXTS = 1000

# What a quantised bundle is meant to keep on real texts; the gate at export, on fewer and harder texts, asks for less.
AIMS = (0.003, 0.1, 0.002)


@dataclass(frozen=True)
class Measured:
    """Both sides' answers, a place for each text.

    Attributes:
        tokens: How long each text is.
        tops: The upper end of each text's bucket of lengths.
        torch: PyTorch's probability of a refusal.
        demur: The bundle's.
        dlogit: The largest difference of a text's logits.
        elided: How many texts were longer than the model reads.
    """

    tokens: npt.NDArray[np.int64]
    tops: npt.NDArray[np.int64]
    torch: Floats
    demur: Floats
    dlogit: Floats
    threshold: float
    elided: int

    @property
    def dp(self) -> Floats:
        return np.abs(self.torch - self.demur)

    @property
    def flips(self) -> npt.NDArray[np.bool_]:
        return np.not_equal(self.torch >= self.threshold, self.demur >= self.threshold)

    def summary(self, at: npt.NDArray[np.bool_] | slice = slice(None)) -> dict[str, Any]:
        """Return the figures of some of the texts."""
        return _near.summary(self.torch[at], self.demur[at], self.threshold) | {
            "flip_rate": round(float(self.flips[at].mean()), 6),
            "max_dlogit": round(float(self.dlogit[at].max()), 6),
        }


def measure(model: demur.Classifier, source: Checkpoint, samples: Sequence[Sample]) -> Measured:
    """Run both sides on the same ids, PyTorch with a thread a core and each text by itself."""
    import torch

    from demur_export.reference import torch_logits

    verdicts = list(model.stream(sample.messages for sample in samples))
    torch.set_num_threads(_machine.cores())
    reference = torch_logits(source, [np.array([sample.ids], np.int64) for sample in samples])
    found = np.array([verdict.logits for verdict in verdicts], np.float32)
    return Measured(
        tokens=np.array([verdict.tokens for verdict in verdicts]),
        tops=np.array([sample.top for sample in samples]),
        torch=np.array([probability(logits, source.refusal) for logits in reference.tolist()]),
        demur=np.array([verdict.score for verdict in verdicts]),
        dlogit=np.abs(found - reference).max(axis=1).astype(np.float64),
        threshold=model.threshold,
        elided=sum(verdict.elided > 0 for verdict in verdicts),
    )


def targets(found: dict[str, Any], recipe: str) -> list[Target]:
    """Return what a bundle of the recipe is meant to keep, beside what was found."""
    flips, max_dp, mean_dp = parity.LIMITS.get(recipe, AIMS)
    return [
        Target(f"label flips at most {flips:.1%}", f"{found['flip_rate']:.2%}", found["flip_rate"] <= flips),
        Target(f"max \\|Δp\\| at most {max_dp:g}", f"{found['max_dp']:.4f}", found["max_dp"] <= max_dp),
        Target(f"mean \\|Δp\\| at most {mean_dp:g}", f"{found['mean_dp']:.5f}", found["mean_dp"] <= mean_dp),
    ]


def summarise(measured: Measured, tops: Sequence[int]) -> dict[str, Any]:
    """Return the figures of all texts and of each bucket of lengths."""
    lows = {top: low + 1 for low, top in pairwise([0, *tops])}
    filled = [top for top in tops if (measured.tops == top).any()]
    lengths = {f"{lows[top]} to {top}": measured.summary(measured.tops == top) for top in filled}
    return {"all": measured.summary(), "lengths": lengths}


def write_scores(measured: Measured) -> None:
    """Write every text's length and probabilities to `results/parity_scores.csv.gz`."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["index", "tokens", "p_torch", "p_demur"])
    both = zip(measured.tokens.tolist(), measured.torch.tolist(), measured.demur.tolist(), strict=True)
    lines.writerows([i, tokens, f"{p:.9g}", f"{q:.9g}"] for i, (tokens, p, q) in enumerate(both))
    common.RESULTS.mkdir(exist_ok=True)
    (common.RESULTS / "parity_scores.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def markdown(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, sample, found = record["model"], record["sample"], record["found"]
    head = ["tokens", "texts", "label flips", "max \\|Δp\\|", "mean \\|Δp\\|", "max \\|Δlogit\\|"]
    rows = [_line(name, part) for name, part in found["lengths"].items()]
    lines = [
        "## How close is it to PyTorch?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}), through `demur.load()`, against PyTorch fp32 on "
        f"{_source.words(record['checkpoint'])}: {'a trial on ' * sample['trial']}{found['all']['texts']:,} "
        "conversations, each alone, the same ids on both sides. p is the probability of a refusal; a label flips where "
        f"the two decide differently at the threshold {model['threshold']:g}.\n",
        *table(head, [*rows, _line("**all**", found["all"])]),
        "",
        *targets_table(aims),
        "\n![PyTorch's probabilities against demur's](plots/parity.png)\n",
        f"The texts: {sample['origin']}; {sample['joined']:,} are conversations of several rows, made where a length "
        f"was rare, and {sample['elided']:,} are longer than the model reads and elided.\n",
        common.machine_line(record["machine"]),
        "Raw: [parity.json](results/parity.json), [parity_scores.csv.gz](results/parity_scores.csv.gz).",
    ]
    return "\n".join(lines)


def _line(name: str, found: dict[str, Any]) -> list[str]:
    flips = f"{found['label_flips']} ({found['flip_rate']:.2%})"
    figures = [f"{found['max_dp']:.4f}", f"{found['mean_dp']:.5f}", f"{found['max_dlogit']:.3f}"]
    return [name, f"{found['texts']:,}", flips, *figures]


def plot(measured: Measured, max_dp: float) -> None:
    """Draw PyTorch's probability against demur's, and their distance against the length; flips are marked."""
    figure, (left, right) = common.panels(["probability of a refusal", "distance by length"])
    flips, dp = measured.flips, np.maximum(measured.dp, 1e-6)
    left.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, zorder=1)
    for draw_line in (left.axvline, left.axhline):
        draw_line(measured.threshold, color="#999999", linewidth=0.8, linestyle=":")
    right.set(aspect="auto", xlim=(0, measured.tokens.max() * 1.03), yscale="log", ylim=(5e-7, 1.5))
    right.axhline(max_dp, color="#999999", linewidth=0.8, linestyle="--")
    right.annotate("target for the largest", (measured.tokens.max(), max_dp * 1.15), ha="right", fontsize=8)
    for axes, x, y in ((left, measured.torch, measured.demur), (right, measured.tokens, dp)):
        axes.scatter(x[~flips], y[~flips], s=7, alpha=0.45, color="#1f4e9c", linewidths=0, label="same label")
        label = f"label flips ({flips.sum()})"
        axes.scatter(x[flips], y[flips], s=42, marker="X", color="#c8321e", linewidths=0, label=label, zorder=3)
    left.set(xlabel="PyTorch fp32", ylabel="demur")
    right.set(xlabel="tokens", ylabel="|Δp|")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    common.save_plot(figure, "parity")


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FOLDER", help="what the bundle was made from"
    )
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=1200, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args()
    if options.texts < 1:
        parser.error(f"--texts {options.texts}: expected at least 1")
    return options


def record_of(
    bundle: Bundle, source: Checkpoint, pool: Pool, samples: Sequence[Sample], measured: Measured, tops: Sequence[int]
) -> dict[str, Any]:
    """Return the record of a run, all but its targets."""
    return {
        "machine": common.machine_record("torch", "transformers"),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256, "threshold": measured.threshold},
        "checkpoint": _source.record(source.folder),
        "sample": {
            "origin": pool.origin,
            "trial": len(samples) < FEW_TEXTS,
            "joined": sum(sample.joined > 1 for sample in samples),
            "elided": measured.elided,
        },
        "found": summarise(measured, tops),
    }


def main() -> None:
    """Measure, write the results, the plot and the page's section, and print the section."""
    options = parse()
    common.require("matplotlib", "torch", "transformers")
    try:
        source = checkpoint.read(options.checkpoint)
    except CheckpointError as error:
        raise SystemExit(f"error: --checkpoint {error}") from error
    pool = read_pool(options.data)
    model, bundle = demur.load(options.model), _bundle.read(_bundle.find(options.model))
    if (source.labels, source.refusal) != (bundle.labels, bundle.refusal):
        raise SystemExit(f"error: {options.checkpoint} has the labels {source.labels}, {bundle.name} {bundle.labels}")
    samples = draw(model, pool.rows, options.texts)
    measured = measure(model, source, samples)
    record = record_of(bundle, source, pool, samples, measured, buckets(model))
    aims = targets(record["found"]["all"], bundle.recipe)
    write_scores(measured)
    common.write_results("parity", record | {"targets": [aim.record() for aim in aims]})
    plot(measured, parity.LIMITS.get(bundle.recipe, AIMS)[1])
    section = markdown(record, aims)
    common.write_section("parity", section)
    print(section)


if __name__ == "__main__":
    main()
