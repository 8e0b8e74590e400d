"""What `bench_models.py` found, as targets and as the page's section."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import _common as common
from _models_sides import BLOCKS, DEMUR, INT8, ROW, TORCH, WEIGHTS
from _report import Target, absences, table, targets_table
from demur_export import walk

Record = dict[str, Any]

NAMES = {
    DEMUR: "demur, the bundle",
    ROW: "demur, `int8-row`",
    WEIGHTS: "demur, `int8-weights`",
    BLOCKS: "the same, activations in 8 bits too",
    INT8: "optimum, int8",
    TORCH: "PyTorch, fp32",
}
# A difference of scores or a noise below this is none.
_FLAT = 1e-6
# What is asked of int8-row's noise and time.
NEARER, NO_WORSE, NO_SLOWER = 2.5, 1.3, 1.06
# Of ModernBERT's graph against optimum's int8: times as fast at lengths, and the most memory in MB.
FASTER = {16: 1.0, 64: 1.0, 128: 1.0, 256: 1.0, 512: 1.0, 2048: 1.4, 8192: 2.5}
MOST_MB, MOST_EXPORT_MB = 1600, 12_000
_HEAD = "*Stand-ins' figures, weights random.*"


def ratio(samples: Mapping[str, Mapping[str, Sequence[float]]], side: str, other: str, tokens: str) -> float:
    """Return the median over the rounds of one side's time over the other's."""
    return float(np.median(np.divide(samples[side][tokens], samples[other][tokens])))


def targets(record: Record) -> list[Target]:
    """Return what one stand-in is meant to show, beside what was found."""
    near, samples = record["near"], record["samples_ms"]
    noise = {side: found["noise"] for side, found in near.items()}
    nearer = noise[INT8] / noise[ROW]
    made = [Target(f"`int8-row` at least {NEARER}x nearer than optimum's int8", f"{nearer:.2f}x", nearer >= NEARER)]
    for side, words in ((WEIGHTS, "`int8-weights`"), (BLOCKS, "MatMulNBits with activations in 8 bits")):
        worse = noise[ROW] / noise[side]
        made.append(Target(f"`int8-row` at most {NO_WORSE}x as noisy as {words}", f"{worse:.2f}x", worse <= NO_WORSE))
    row = ROW if ROW in samples else DEMUR
    slower, worst = max((ratio(samples, row, INT8, n), n) for n in samples[row])
    aim = f"`int8-row` at most {NO_SLOWER}x optimum's int8's time at every length"
    made.append(Target(aim, f"{slower:.2f}x, at {worst}", slower <= NO_SLOWER))
    return made + (_long_targets(record) if record["export"]["architecture"] == "modernbert" else [])


def _long_targets(record: Record) -> list[Target]:
    samples, made = record["samples_ms"], []
    for tokens, least in FASTER.items():
        aim = f"at least {least:g}x as fast as optimum's int8 at {tokens:,} tokens"
        if str(tokens) in samples[DEMUR]:
            found = ratio(samples, INT8, DEMUR, str(tokens))
            made.append(Target(aim, f"{found:.2f}x", found >= least))
        else:
            made.append(Target(aim, "–", None))
    peak = record["served"][DEMUR]["peak_mb"]
    made.append(Target(f"under {MOST_MB:,} MB at the longest length", f"{peak:,.0f} MB", peak < MOST_MB))
    peak = record["export"]["took"]["peak_mb"]
    return [*made, Target(f"exported within {MOST_EXPORT_MB:,} MB", f"{peak:,.0f} MB", peak < MOST_EXPORT_MB)]


def markdown(models: Mapping[str, Record], absent: Mapping[str, str]) -> str:
    """Return the page's section.

    Args:
        models: The records by name.
        absent: Why others have none.
    """
    lines = [
        "## The published architectures (`bench_models.py`)\n",
        "Of stand-ins: checkpoints of the published architectures whose weights are random (`standins.py`). What the "
        "published weights would give is another matter: random layers amplify rounding far more than trained ones, so "
        "that the walk through recipes ends later and distances are larger; sizes, times and memory are what they "
        "would be.",
        *absences(absent),
        "",
    ]
    if models:
        lines += [*_exports(models), *_near(models), *_times(models), *_served(models)]
        lines += [f"`{name}`: {common.machine_line(one['machine'])}\n" for name, one in models.items()]
        lines.append("Raw: [models.json](results/models.json).")
    return "\n".join(lines)


def _exports(models: Mapping[str, Record]) -> list[str]:
    rows, tried = [], []
    for name, one in models.items():
        export, took = one["export"], one["export"]["took"]
        left = export["tried"][-1]["products left in fp32"]
        weights = f"{export['parameters'] / 1e6:.1f} M"
        sizes = [f"{export[key] / 1e6:.1f}" for key in ("checkpoint_bytes", "bundle_bytes")]
        costs = [f"{took['seconds']:,.0f} ({took['cpu_s']:,.0f})", f"{took['peak_mb']:,.0f}"]
        rows.append([f"`{name}`", weights, *sizes, *costs, f"`{export['recipe']}`", _why(export, len(left))])
        tried += [f"\n<details><summary>{name}: all that was tried</summary>\n", _HEAD, ""]
        tried += [walk.table(export["tried"], export["parity"]["texts"]), "\n</details>"]
    head = ["", "weights", "checkpoint, MB", "bundle, MB", "export, s (CPU s)", "its peak, MB", "recipe", "why"]
    return ["### Export\n", f"{_HEAD}\n", *table(head, rows), *tried, ""]


def _why(export: Record, left: int) -> str:
    if export["made_of"]["recipe"] != "auto":
        return "asked for"
    before = len(export["tried"]) - 1
    some = f", {left} products in fp32" * bool(left)
    return f"the first of the walk{some}" if not before else f"{before} faster ones fell short{some}"


def _near(models: Mapping[str, Record]) -> list[str]:
    rows = []
    for name, one in models.items():
        for side, found in one["near"].items():
            flips = f"{found['label_flips']} of {found['texts']} ({found['sure_flips']})"
            figures = [f"{found['max_dp']:.4f}", f"{found['mean_dp']:.5f}", f"{found['noise']:.4f}"]
            rows.append([f"`{name}`" * (side == DEMUR), NAMES[side], flips, *figures])
    aims = [f"\n`{name}`, a stand-in:\n\n" + "\n".join(targets_table(targets(one))) for name, one in models.items()]
    words = (
        "Against PyTorch fp32 on those of the gate's conversations that no recipe is calibrated on, each alone. Noise "
        "is the standard deviation of the error of the difference of the two logits, over that of the difference "
        "itself; an error that all texts share is not in it, but in Δp. In brackets: flips where PyTorch is surer than "
        "0.9. `int8-weights` has activations in fp32.\n"
    )
    # Where nothing moves a score, though the logits differ, they are all far beyond 0 or 1.
    flat = [
        f"`{name}`"
        for name, one in models.items()
        if all(found["max_dp"] < _FLAT < found["noise"] for found in one["near"].values() if found["noise"] > _FLAT)
    ]
    if flat:
        aims.append(
            f"\nOf {', '.join(flat)}: the scores of this stand-in all lie at one end, so that its flips and |Δp| say "
            "nothing; its noise does."
        )
    head = ["", "", "label flips", "max \\|Δp\\|", "mean \\|Δp\\|", "noise"]
    return ["### How close to PyTorch\n", words, f"{_HEAD}\n", *table(head, rows), *aims, ""]


def _times(models: Mapping[str, Record]) -> list[str]:
    lines = [
        "### Milliseconds\n",
        "p50 of one text on one thread, and in brackets the time as a multiple of optimum's int8, the median of the "
        "rounds' own ratios. It is the thread's processor time, since the machine had other work (by the clock: raw). "
        "All compute logits of the same ids, in one process and in turn, without tokenizers; optimum's graph runs in "
        "onnxruntime's own options.\n",
    ]
    for name, one in models.items():
        samples = one["samples_ms"]
        rows = [
            [NAMES[side], *(f"{np.median(took):,.1f} ({ratio(samples, side, INT8, n):.2f})" for n, took in of.items())]
            for side, of in samples.items()
        ]
        rounds = ", ".join(str(len(took)) for took in samples[INT8].values())
        lines += [f"`{name}`, a stand-in with random weights (rounds: {rounds}):\n"]
        lines += [*table(["tokens", *(f"{int(n):,}" for n in samples[INT8])], rows), ""]
    return lines


def _served(models: Mapping[str, Record]) -> list[str]:
    rows = []
    for name, one in models.items():
        for side, found in one["served"].items():
            loads = [f"{np.median(found[key]):.2f}" for key in ("import_s", "load_s")]
            peak = f"{found['peak_mb']:,.0f}, at {found['tokens']:,}"
            rows.append([f"`{name}`" * (side == DEMUR), NAMES[side], *loads, peak])
    words = (
        "Each in a process of its own with one thread, files already in memory: importing and loading model and "
        "tokenizer (medians), and the most memory held by a process that then judges one text of the longest length. "
        "PyTorch's and optimum's are their pipelines.\n"
    )
    head = ["", "", "import, s", "load, s", "peak, MB, at tokens"]
    return ["### Loading and memory\n", words, f"{_HEAD}\n", *table(head, rows), ""]
