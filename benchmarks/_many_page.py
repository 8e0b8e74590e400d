"""What `bench_many.py` makes of its samples: rates, targets, a plot and the page's section."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import _common as common
import _source
from _peers import COLOURS, DEMUR, INT8, NAMES, TORCH_BF16, TRANSFORMERS, WAYS
from _report import Target, absences, ratio, table, targets_table

Samples = dict[str, list[float]]  # seconds by runner and block

ENCODE = "encode"
PEERS = (TRANSFORMERS, TORCH_BF16, INT8)
BATCHES = (1, 8, 32)
AT_BEST = {INT8: 1.4, TRANSFORMERS: 3.5}
AT_LARGEST = {INT8: 4.0, TRANSFORMERS: 8.0}


def named(peer: str, size: int) -> str:
    """Return a peer's key at a batch size."""
    return f"{peer}@{size}"


def workers(count: int) -> str:
    """Return demur's key with so many workers."""
    return f"{DEMUR}@{count}"


def rates(samples: Samples, texts: int) -> dict[str, float]:
    """Return each runner's texts a second over all blocks."""
    return {name: round(texts / sum(took), 2) for name, took in samples.items()}


def targets(samples: Samples, cores: int) -> list[Target]:
    """Return the aims beside what was found, with the middle 95 % of what resampled blocks give."""
    whole = workers(cores)
    made = []
    for of_peer, chosen in ((AT_BEST, None), (AT_LARGEST, BATCHES[-1])):
        for peer, least in of_peer.items():
            sizes = BATCHES if chosen is None else (chosen,)
            found = [named(way, size) for way in WAYS.get(peer, (peer,)) for size in sizes]
            name = min((key for key in found if key in samples), key=lambda key: sum(samples[key]), default=None)
            size = "at its best batch size" if chosen is None else f"at batch size {chosen}"
            aim = f"at least {least:g} times {NAMES[peer]} {size}"
            if name is None:
                made.append(Target(aim, "–", None))
            else:
                way, _, taken = name.rpartition("@")
                which = [NAMES[way]] * (way != peer) + [f"batch size {taken}"] * (chosen is None)
                said = f" ({', '.join(which)})" if which else ""
                made.append(ratio(aim + said, samples[name], samples[whole], least))
    aim = "tokenising, in one thread, takes less time than all workers take for the whole"
    share = sum(samples[ENCODE]) / sum(samples[whole])
    return [*made, Target(aim, f"{share:.0%} of it", share < 1)]


def markdown(record: Mapping[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, found, cores, texts = record["model"], record["found"], record["cores"], record["texts"]
    said = f"{cores} threads" if cores > 1 else "1 thread"
    ours = [count for count in dict.fromkeys((1, cores)) if workers(count) in found]
    fastest = found[workers(cores)]
    rows = [
        [f"demur, {count} worker{'s' * (count > 1)}", "", f"{found[workers(count)]:.1f}", ""]
        if workers(count) == workers(cores)
        else [f"demur, {count} worker", "", f"{found[workers(count)]:.1f}", f"{fastest / found[workers(count)]:.2f}"]
        for count in ours
    ]
    rows += [
        [NAMES[peer], str(size), f"{found[named(peer, size)]:.1f}", f"{fastest / found[named(peer, size)]:.2f}"]
        for peer in PEERS
        for size in BATCHES
        if named(peer, size) in found
    ]
    alone = found[workers(1)] / found[ENCODE]
    low, middle, high = np.percentile(texts["tokens"], [5, 50, 95])
    most = "all cores' workers'" if cores > 1 else "the worker's"
    source = _source.words(record["checkpoint"])
    lines = [
        "## How many texts a second?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}) and {source}, on "
        f"{texts['count']:,} conversations of {np.mean(texts['tokens']):.0f} tokens on average (median {middle:.0f}, "
        f"5 % below {low:.0f}, 5 % above {high:.0f}); peers with {said} each. Blocks of {record['block']} go through "
        "all of them in turn, in an order drawn anew for each block. optimum's int8 is "
        f"`{record['int8_target']}`, dynamic, per channel.\n",
        *table(["", "batch size", "texts a second", f"times {most} rate is this"], rows),
        *absences(record["absent"], NAMES),
        f"\nWriting conversations in the template and tokenising them, in one thread and without judging, goes at "
        f"{found[ENCODE]:,.0f} texts a second: {alone:.1%} of what one worker does.\n",
        *targets_table(aims),
        "\nIn brackets: 95 % of what resampled blocks give.\n",
        "![Texts a second](plots/many.png)\n",
        f"The texts: {texts['origin']}.\n",
        common.machine_line(record["machine"]),
        "Raw: [many.json](results/many.json).",
    ]
    return "\n".join(lines)


def plot(found: Mapping[str, float]) -> None:
    """Draw a bar for each runner, fastest at the top."""
    from matplotlib.figure import Figure

    bars = sorted(((rate, name) for name, rate in found.items() if name != ENCODE), key=lambda bar: bar[0])
    figure = Figure(figsize=(7.4, 0.42 * len(bars) + 0.9), layout="constrained")
    axes = figure.subplots()
    labels: list[str] = []
    for place, (rate, name) in enumerate(bars):
        peer, _, size = name.partition("@")
        axes.barh(place, rate, color=COLOURS[peer])
        axes.annotate(f"{rate:.1f}", (rate, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
        unit = f"{size} worker{'s' * (size != '1')}" if peer == DEMUR else f"batches of {size}"
        labels.append(f"{NAMES[peer]}, {unit}")
    axes.set_yticks(range(len(bars)), labels=labels)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="texts a second")
    axes.spines[["top", "right", "left"]].set_visible(False)
    common.save_plot(figure, "many")
