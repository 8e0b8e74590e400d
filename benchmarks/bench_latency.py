"""How long does one text take, beside the same checkpoint served in other ways?

    python benchmarks/bench_latency.py --checkpoint FOLDER [--model NAME|FOLDER] [--lengths N ...] [--rounds N]
        [--threads N] [--data FOLDER]

Every peer judges the same rendered texts one at a time, in one process and in turn, each with the same threads. At
each turn it judges two texts, of which the second is timed: what a text takes that follows another. No text is timed
twice: what demur remembers of texts is the words of those before.
The texts are made of real conversations, trimmed by words until the tokenizer says that the length is exact.
"""

import argparse
import gc
import hashlib
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import _cold
import _common as common
import _peers
import _texts
from _peers import BARE, COLOURS, DEMUR, INT8, NAMES, OV_BF16, OV_INT8, TRANSFORMERS, Judge
from _report import Target, table, targets_table
from demur import _bundle
from demur._bundle import Bundle

Samples = dict[str, dict[int, list[float]]]  # milliseconds by peer, length and round

MOST_ROUNDS, LEAST_ROUNDS, WARM_UP = 120, 10, 3
BUDGET_S, COLD_RUNS = 220.0, 5
FASTER_THAN_TRANSFORMERS, FASTER_THAN_FEW_BITS = {64: 4, 512: 2.2}, 1.15  # the former by tokens
FEW_BITS = (INT8, OV_INT8, OV_BF16)
ABOVE_BARE, ABOVE_BARE_MS = 0.05, 0.15
COLD_S, COLD_TIMES = 0.25, 18


def sample(
    judges: Mapping[str, Judge],
    texts: Mapping[int, Sequence[str]],
    rounds: int | None,
    seconds: float = BUDGET_S,
    least: int = LEAST_ROUNDS,
) -> Samples:
    """Time every peer on every length, round after round.

    Args:
        judges: Each peer's function of a text.
        texts: By length; each round takes the next one.
        rounds: How many; None for as many as `seconds` hold, from `least` to `MOST_ROUNDS`.
        seconds: Those of the warming up included.
        least: Rounds, however long they take.
    """
    samples: Samples = {name: {tokens: [] for tokens in texts} for name in judges}
    order, names = random.Random(common.SEED), list(judges)
    until = time.monotonic() + seconds
    # subtle: a full collection looks at all that torch and transformers hold and would fall on whoever is timed.
    gc.collect()
    gc.freeze()
    for i in range(-WARM_UP, MOST_ROUNDS if rounds is None else rounds):
        if rounds is None and i >= least and time.monotonic() > until:
            break
        for tokens, of_length in texts.items():
            before, text = of_length[(i - 1) % len(of_length)], of_length[i % len(of_length)]
            # Drawn anew, so that nobody always follows the one who leaves the machine worst.
            for name in order.sample(names, len(names)):
                # subtle: the others have emptied the caches. In use a text follows another, so each peer first judges
                # one that is not timed.
                judges[name](before)
                start = time.perf_counter()
                judges[name](text)
                took = time.perf_counter() - start
                if i >= 0:
                    samples[name][tokens].append(round(took * 1e3, 4))
    return samples


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
        ratio = found.get(TRANSFORMERS, {}).get(tokens, {}).get("to_demur")
        made.append(Target(aim, "–", None) if ratio is None else Target(aim, f"{ratio:.2f}x", ratio >= times))
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
    threads = f"{record['threads']} thread{'s' * (record['threads'] != 1)}"
    lines = [
        "## How long does one text take?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}) and the checkpoint it was made from; one text at a "
        f"time, {threads} each, in one process and in an order drawn anew each round; {record['rounds']} rounds, every "
        f"text of exactly so many tokens. optimum's int8 is `{record['int8_target']}`, dynamic, per channel. The bare "
        "session is demur's graph on ids made beforehand: the floor.\n",
        "Milliseconds, p50 / p95:\n",
        *table(["tokens", *lengths], times),
        "\nTimes demur's time, the median of the rounds' own ratios:\n",
        *table(["tokens", *lengths], ratios),
        *[f"\nAbsent: {NAMES[name]} ({reason})." for name, reason in record["absent"].items()],
        "",
        *targets_table(aims),
        "\n![Milliseconds by length](plots/latency.png)\n",
        f"Cold start, from starting Python to the first verdict, the median of {COLD_RUNS} fresh processes in turn, "
        "the files already in memory:\n",
        *table(["", "seconds"], [[NAMES[n], f"{_cold.median(took):.2f}"] for n, took in cold["seconds"].items()]),
        *[f"\nAbsent: {NAMES[name]} ({reason})." for name, reason in cold["absent"].items()],
        "",
        f"The texts: {record['texts']}.\n",
        common.machine_line(record["machine"]),
        "Raw: [latency.json](results/latency.json).",
    ]
    return "\n".join(lines)


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


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FOLDER", help="what the bundle was made from"
    )
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 128, 256, 512], metavar="N", help="tokens")
    parser.add_argument("--rounds", type=int, metavar="N", help="by default as many as a few minutes hold")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each peer (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args()
    if min(options.rounds or 1, options.threads) < 1:
        parser.error("--rounds and --threads: expected at least 1")
    return options


def run(options: argparse.Namespace, bundle: Bundle) -> tuple[Samples, dict[str, Any]]:
    """Build the peers, time them, and return the samples and what else there is to record."""
    pool = _texts.read_pool(options.data)
    count = WARM_UP + (options.rounds or MOST_ROUNDS)
    try:
        texts = {tokens: _texts.exact(bundle, pool.rows, tokens, count) for tokens in sorted(set(options.lengths))}
    except ValueError as error:
        raise SystemExit(f"error: --lengths: {error}") from error
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder:
        every = [text for of_length in texts.values() for text in of_length]
        judges, absent = _peers.build(options.checkpoint, bundle, options.threads, every, Path(folder))
        _peers.check_ids(texts, judges, bundle)
        samples = sample(judges, texts, options.rounds)
    seconds, not_started = _cold.measure(options.checkpoint, bundle, COLD_RUNS)
    return samples, {
        "lengths": list(texts),
        "threads": options.threads,
        "rounds": len(samples[DEMUR][min(texts)]),
        "int8_target": _peers.int8_target(),
        "texts": f"a new one each round, made of {pool.origin}",
        "absent": absent,
        "cold_start": {"seconds": seconds, "absent": not_started},
    }


def main() -> None:
    """Measure, write the results, the plot and the page's section, and print the section."""
    options = parse()
    common.require("matplotlib")
    weights = options.checkpoint / "model.safetensors"
    if not weights.is_file():
        raise SystemExit(
            f"error: --checkpoint {options.checkpoint}: no {weights.name} there; give a checkpoint's folder"
        )
    bundle = _bundle.read(_bundle.find(options.model))
    if max(options.lengths) > bundle.max_tokens:
        raise SystemExit(f"error: --lengths: {bundle.name} reads {bundle.max_tokens} tokens at most")
    samples, facts = run(options, bundle)
    found = summarise(samples)
    record = {
        "machine": common.machine_record(*_peers.packages(samples)),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256},
        "checkpoint": {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        **facts,
        "found": found,
    }
    aims = targets(samples, found, facts["cold_start"]["seconds"])
    common.write_results("latency", record | {"targets": [a.record() for a in aims], "samples_ms": samples})
    plot(samples)
    section = markdown(record, aims)
    common.write_section("latency", section)
    print(section)


if __name__ == "__main__":
    main()
