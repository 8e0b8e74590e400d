"""How much memory does a process take that judges texts, does it grow, and how long does loading take?

    python benchmarks/bench_memory.py [--model NAME|FOLDER] [--texts N] [--runs N]

All in fresh processes that import demur alone. Memory over time is that of one process that judges texts of random
lengths, most of them short, a third of their words never seen before; the first is as long as the model reads, so
that what comes on top has grown. Shared memory is counted by halves, thirds and so on (PSS, proc(5)).
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import _common as common
from _needs import absent
from _report import Target, table, targets_table
from demur import _bundle
from demur._bundle import Bundle

PEAK_MB, MS_PER_MB, SHARED_FROM_MB = 130, 2, 100
# What counts as growth: more than the pages that come and go with any allocation.
GROWTH_MB = 1
PROCESSES, THEIR_TEXTS = 4, 50
SCRIPT = Path(__file__).with_name("_memory_process.py")


@contextmanager
def judging(bundle: Bundle, texts: int) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Start a process that judges so many texts, and yield its id and what it told when it is through.

    Raises:
        RuntimeError: It ended before that.
    """
    command = [sys.executable, str(SCRIPT), str(bundle.folder), str(texts), str(common.SEED)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        told: list[dict[str, Any]] = []
        for line in process.stdout:
            told.append(json.loads(line))
            if "peak" in told[-1]:
                break
        else:
            raise RuntimeError(f"{SCRIPT.name}: ended with exit status {process.wait()}")
        yield process.pid, told
        process.stdin.close()


def load_times(bundle: Bundle, runs: int) -> list[dict[str, float]]:
    """Return how long a session takes to create in each of so many fresh processes, after one that is not counted."""
    command = [sys.executable, str(SCRIPT), str(bundle.folder)]
    found = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True) for _ in range(1 + runs)]
    return [json.loads(done.stdout) for done in found[1:]]


def together(bundle: Bundle) -> list[dict[str, float]]:
    """Return what processes have in memory between them, in MB: one alone, two side by side, and so on."""
    found, pids = [], []
    with ExitStack() as running:
        for _ in range(PROCESSES):
            pid, _ = running.enter_context(judging(bundle, THEIR_TEXTS))
            pids.append(pid)
            maps = [rollup(pid) for pid in pids]
            found.append({key: round(sum(one[key] for one in maps) / 1e6, 2) for key in ("Pss", "Rss")})
    return found


def rollup(pid: int) -> dict[str, int]:
    """Return what a process has in memory, by kind, in bytes (proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {key: int(value.split()[0]) * 1024 for key, _, value in (line.partition(":") for line in lines)}


def targets(record: dict[str, Any]) -> list[Target]:
    """Return the aims beside what was found."""
    size, shown = record["model"]["mb"], record["rss_mb"]
    # By medians of tenths, since single pages come and go. In the first half demur's memory of words fills up.
    tenths = [float(np.median(part)) for part in np.array_split([rss for _, rss in shown], min(10, len(shown)))]
    grown = tenths[-1] - tenths[len(tenths) // 2]
    took = float(np.median([one["session_ms"] for one in record["loading"]])) / size
    aim = f"weights of more than {SHARED_FROM_MB} MB are one copy: another process adds less than they take"
    added = (record["together_mb"][-1]["Pss"] - record["together_mb"][0]["Pss"]) / (PROCESSES - 1)
    large = size > SHARED_FROM_MB
    return [
        Target(f"peak under {PEAK_MB} MB (demur-mini)", f"{record['peak_mb']:.1f} MB", record["peak_mb"] < PEAK_MB),
        Target(
            f"no growth (at most {GROWTH_MB} MB) in the second half of {record['texts']:,} texts",
            f"{grown:+.2f} MB",
            grown <= GROWTH_MB,
        ),
        Target(f"a session is created in at most {MS_PER_MB} ms per MB of weights", f"{took:.2f}", took <= MS_PER_MB),
        Target(aim, f"{added:.1f} MB of {size:.1f}" if large else "–", added < size if large else None),
    ]


def markdown(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, first, tokens = record["model"], record["begin_mb"], record["tokens"]
    steps = [
        ["Python, numpy, onnxruntime, tokenizers and demur imported", f"{first['imported']:.1f}"],
        ["loaded, and one short text judged", f"{first['first']:.1f}"],
        ["one text of full length judged", f"{first['longest']:.1f}"],
        [f"{record['texts']:,} texts judged", f"{record['rss_mb'][-1][1]:.1f}"],
        ["the most at any time", f"{record['peak_mb']:.1f}"],
    ]
    found = {key: [one[key] for one in record["loading"]] for key in ("session_ms", "again_ms")}
    took = [[np.median(ms), min(ms)] for ms in found.values()]
    lines = [
        "## How much memory does it take, and how long does loading?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}), {model['mb']:.1f} MB of graph and weights, one "
        "thread, in fresh processes that import demur alone. MB in memory (RSS) of one process:\n",
        *table(["", "MB"], steps),
        f"\nThe texts are of {tokens[1]} tokens in the middle, 5 % of them of {tokens[0]} or less and 5 % of "
        f"{tokens[2]} or more. A third of their words are new: demur remembers up to 32,768 of them.\n",
        "![MB over texts](plots/memory.png)\n",
        f"Creating the session, milliseconds, median / least of {len(record['loading'])} processes:\n",
        *table(
            ["", "ms", "ms per MB"],
            [
                [name, f"{middle:.1f} / {least:.1f}", f"{middle / model['mb']:.2f} / {least / model['mb']:.2f}"]
                for name, (middle, least) in zip(("the first of the process", "another"), took, strict=True)
            ],
        ),
        "\nProcesses side by side, each having judged some texts: MB of all together, what they share counted once "
        "(PSS), and the sum of what each has in memory (RSS):\n",
        *table(
            ["processes", "PSS", "RSS"],
            [[str(n), f"{mb['Pss']:.1f}", f"{mb['Rss']:.1f}"] for n, mb in enumerate(record["together_mb"], 1)],
        ),
        "",
        *targets_table(aims),
        "",
        common.machine_line(record["machine"]),
        "Raw: [memory.json](results/memory.json).",
    ]
    return "\n".join(lines)


def plot(rss_mb: Sequence[tuple[int, float]]) -> None:
    """Draw what a process has in memory over the texts that it has judged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([texts for texts, _ in rss_mb], [mb for _, mb in rss_mb], color="#1f4e9c")
    axes.axhline(PEAK_MB, color="#777777", linestyle="--", linewidth=1, label="target")
    axes.legend(frameon=False, loc="lower right")
    axes.set_ylim(0, 1.1 * max(PEAK_MB, *(mb for _, mb in rss_mb)))
    axes.set(xlabel="texts judged", ylabel="MB in memory", title="texts of random lengths")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    common.save_plot(figure, "memory")


def main() -> None:
    """Measure, write the results, the plot and the page's section, and print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--texts", type=int, default=20_000, metavar="N", help="to judge (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="processes to time loading in")
    options = parser.parse_args()
    if min(options.texts, options.runs) < 1:
        parser.error("--texts and --runs: expected at least 1")
    common.require("matplotlib")
    if not Path("/proc/self/smaps_rollup").exists():
        absent("this benchmark reads /proc/PID/smaps_rollup, which Linux has since 4.14")
    bundle = _bundle.read(_bundle.find(options.model))
    with judging(bundle, options.texts) as (_, told):
        begin, samples, end = told[0], told[1:-1], told[-1]
    record = {
        "machine": common.machine_record(),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256, "mb": round((bundle.size - bundle.tokenizer.bytes) / 1e6, 3)},
        "texts": options.texts,
        "tokens": end["tokens"],
        "begin_mb": {key: round(value / 1e6, 3) for key, value in begin.items()},
        "peak_mb": round(end["peak"] / 1e6, 3),
        "loading": load_times(bundle, options.runs),
        "together_mb": together(bundle),
        "rss_mb": [(one["texts"], round(one["rss"] / 1e6, 3)) for one in samples],
    }
    aims = targets(record)
    common.write_results("memory", record | {"targets": [aim.record() for aim in aims]})
    plot(record["rss_mb"])
    section = markdown(record, aims)
    common.write_section("memory", section)
    print(section)


if __name__ == "__main__":
    main()
