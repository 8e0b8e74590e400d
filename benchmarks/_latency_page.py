"""The latencies' page: summary, targets, tables and plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import _cold
import _common as common
import _near
import _source
from _peers import BARE, COLOURS, DEMUR, INT8, NAMES, OV_BF16, OV_INT8, TORCH_BF16, TRANSFORMERS, WAYS
from _report import Target, absences, table, targets_table

Samples = dict[str, dict[int, list[float]]]  # milliseconds by peer, length and round

FASTER_THAN_TRANSFORMERS, FASTER_THAN_FEW_BITS = {64: 4, 512: 2.2}, 1.15  # the former by tokens
FEW_BITS = (INT8, OV_INT8, OV_BF16, TORCH_BF16)
ABOVE_BARE, ABOVE_BARE_MS = 0.05, 0.15
COLD_S, COLD_TIMES = 0.25, 18


def to_bare(samples: Samples) -> dict[int, float]:
    """Return demur's time as a multiple of its bare session's by length: the median over the rounds."""
    return {n: float(np.median(np.divide(took, samples[BARE][n]))) for n, took in samples[DEMUR].items()}


def summarise(samples: Samples) -> dict[str, dict[int, dict[str, float]]]:
    """Return each peer's p50 and p95 by length, and its time as a multiple of demur's: the median over the rounds."""
    return {
        name: {
            tokens: {
                "p50_ms": round(float(np.percentile(took, 50)), 3),
                "p95_ms": round(float(np.percentile(took, 95)), 3),
                "to_demur": round(float(np.median(np.divide(took, samples[DEMUR][tokens]))), 4),
            }
            for tokens, took in lengths.items()
        }
        for name, lengths in samples.items()
    }


def targets(
    samples: Samples, found: dict[str, dict[int, dict[str, float]]], cold: Mapping[str, Sequence[float]]
) -> list[Target]:
    """Return the aims beside what was found, the length at which it is worst where the aim is for all lengths.

    Args:
        samples: Milliseconds of every peer.
        found: What `summarise` makes of them.
        cold: Seconds of cold starts by peer.
    """
    made = []
    for tokens, times in FASTER_THAN_TRANSFORMERS.items():
        aim = f"at least {times}x as fast as the transformers pipeline at {tokens} tokens"
        timed = [way for way in WAYS[TRANSFORMERS] if tokens in found.get(way, {})]
        if not timed:
            made.append(Target(aim, "–", None))
            continue
        ratio, way = min((found[way][tokens]["to_demur"], NAMES[way]) for way in timed)
        made.append(Target(aim, f"{ratio:.2f}x ({way})", ratio >= times))
    aim = f"at least {FASTER_THAN_FEW_BITS}x as fast as the best int8 or bf16 peer at every length"
    ratios = [
        (values["to_demur"], tokens, NAMES[name]) for name in FEW_BITS for tokens, values in found.get(name, {}).items()
    ]
    worst = min(ratios, default=None)
    shown = worst and f"{worst[0]:.2f}x, at {worst[1]} ({worst[2]})"
    made.append(Target(aim, shown or "–", worst and worst[0] >= FASTER_THAN_FEW_BITS))
    above = {tokens: ratio - 1 for tokens, ratio in to_bare(samples).items()}
    more_ms = {n: float(np.median(np.subtract(took, samples[BARE][n]))) for n, took in samples[DEMUR].items()}
    least = max(above, key=lambda tokens: min(above[tokens] / ABOVE_BARE, more_ms[tokens] / ABOVE_BARE_MS))
    aim = f"above the bare session at most {ABOVE_BARE:.0%} or {ABOVE_BARE_MS} ms, whichever is more, at every length"
    within = above[least] <= ABOVE_BARE or more_ms[least] <= ABOVE_BARE_MS
    made.append(Target(aim, f"{above[least]:+.1%}, {more_ms[least]:+.2f} ms, at {least}", within))
    start = _cold.median(cold[DEMUR])
    made.append(Target(f"cold start at most {COLD_S} s", f"{start:.2f} s", start <= COLD_S))
    aim = f"cold start at least {COLD_TIMES} times faster than the transformers pipeline's"
    if TRANSFORMERS not in cold:
        return [*made, Target(aim, "–", None)]
    times = _cold.median(cold[TRANSFORMERS]) / start
    return [*made, Target(aim, f"{times:.1f}x", times >= COLD_TIMES)]


def markdown(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, found, cold = record["model"], record["found"], record["cold_start"]
    lengths = [str(tokens) for tokens in record["lengths"]]
    times = [[NAMES[n], *(f"{v['p50_ms']:.1f} / {v['p95_ms']:.1f}" for v in found[n].values())] for n in found]
    ratios = [[NAMES[n], *(f"{v['to_demur']:.2f}" for v in found[n].values())] for n in found if n != DEMUR]
    starts = len(cold["seconds"][DEMUR])
    threads = f"{record['threads']} thread{'s' * (record['threads'] != 1)}"
    source = _source.words(record["checkpoint"])
    lines = [
        "## How long does one text take?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}) and {source}; one text at a time, "
        f"{threads} each, in one process and in an order drawn anew each round; {record['rounds']} rounds, every "
        f"text of exactly so many tokens. optimum's int8 is `{record['int8_target']}`, dynamic, per channel. The bare "
        "session is demur's graph on ids made beforehand: the floor.\n",
        "Milliseconds, p50 / p95:\n",
        *table(["tokens", *lengths], times),
        "\nTimes demur's time, the median of the rounds' own ratios:\n",
        *table(["tokens", *lengths], ratios),
        *absences(record["absent"], NAMES),
        *_nearness(record["near"], record["checkpoint"]),
        "",
        *targets_table(aims),
        "\n![Milliseconds by length](plots/latency.png)\n",
        f"Cold start, from starting Python to the first verdict, the median of {starts} fresh processes in turn, "
        "the files already in memory:\n",
        *table(["", "seconds"], [[NAMES[n], f"{_cold.median(took):.2f}"] for n, took in cold["seconds"].items()]),
        *absences(cold["absent"], NAMES),
        "",
        f"The texts: {record['texts']}.\n",
        common.machine_line(record["machine"]),
        "Raw: [latency.json](results/latency.json).",
    ]
    return "\n".join(lines)


def _nearness(found: Mapping[str, Mapping[str, float]], checkpoint: Mapping[str, str | None]) -> list[str]:
    if not found:
        return []
    said = "\nHow far each is from PyTorch fp32, on other texts of these lengths"
    if checkpoint.get(_source.UNPACKED) is not None:
        said += "; demur's is that of rounding activations alone, since the weights are its own"
    return [f"{said}:\n", *table(["", "label flips", "max \\|Δp\\|", "mean \\|Δp\\|"], _near.rows(found, NAMES))]


def plot(samples: Samples) -> None:
    """Draw the median against the length, a line a peer, with the middle nine tenths of its times behind it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for name, lengths in samples.items():
        low, middle, high = np.percentile(list(lengths.values()), [5, 50, 95], axis=1)
        style = "--" if name == BARE else "-"
        axes.fill_between(list(lengths), low, high, color=COLOURS[name], alpha=0.12, linewidth=0)
        axes.plot(list(lengths), middle, style, color=COLOURS[name], marker="o", markersize=4, label=NAMES[name])
    axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="ms for one text", title="one text at a time")
    axes.set_xticks(list(samples[DEMUR]), labels=[str(tokens) for tokens in samples[DEMUR]], minor=False)
    axes.minorticks_off()
    ticks = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    low, high = axes.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, labels=[str(tick) for tick in shown])
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    common.save_plot(figure, "latency")
