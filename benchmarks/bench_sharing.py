"""How much memory do processes that serve one bundle take together, and how long does each take to load it?

    python benchmarks/bench_sharing.py [--model NAME|FOLDER] [--processes N] [--runs N]

All in fresh processes, once as demur loads, with an empty folder for what it makes ready, and once with nothing made
ready (`DEMUR_CACHE=off`). What processes share is counted by halves, thirds and so on (PSS, proc(5)).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import _common as common
from _needs import absent
from _report import Target, table, targets_table
from bench_memory import MS_PER_MB, SHARED_FROM_MB, load_times, rollup
from demur import _bundle, _home, load
from demur._bundle import Bundle

READY, NOTHING = "made ready", "nothing made ready"
TEXT = "I'm sorry, but I can't help with that."


def serve(folder: Path) -> None:
    """Load, judge a text, tell of it, and wait until the input is closed."""
    start = time.perf_counter()
    model = load(folder, threads=1)
    took = time.perf_counter() - start
    verdict = model.check(TEXT)
    model.check("word " * min(model.max_tokens, 512))  # that all weights have been read by every process
    print(json.dumps({"load_s": round(took, 3), "logits": verdict.logits}), flush=True)
    sys.stdin.read()


def together(bundle: Bundle, processes: int) -> list[dict[str, Any]]:
    """Return what the last of each number of processes told, and the memory of all so far in MB."""
    found, running = [], []
    with ExitStack() as stack:
        for _ in range(processes):
            command = [sys.executable, __file__, "--serve", str(bundle.folder)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            if not (line := process.stdout.readline()):
                raise RuntimeError(f"{Path(__file__).name}: a process ended with exit status {process.wait()}")
            running.append(process.pid)
            maps = [rollup(pid) for pid in running]
            memory = {key: round(sum(one[key] for one in maps) / 1e6, 2) for key in ("Pss", "Rss", "Pss_Anon")}
            found.append(json.loads(line) | memory)
    return found


def measure(bundle: Bundle, processes: int, runs: int, cache: str) -> dict[str, Any]:
    """Return what processes take together and how long loading takes, with one setting of `DEMUR_CACHE`."""
    before = os.environ.get(_home.CACHE)
    os.environ[_home.CACHE] = cache
    try:
        first = together(bundle, 1)[0]
        found = {"first": first, "together": together(bundle, processes), "loading": load_times(bundle, runs)}
    finally:
        del os.environ[_home.CACHE]
        if before is not None:
            os.environ[_home.CACHE] = before
    return found


def targets(record: dict[str, Any]) -> list[Target]:
    """Return the aims beside what was found."""
    size, ready = record["model"]["mb"], record[READY]
    memory = ready["together"]
    added = (memory[-1]["Pss"] - memory[0]["Pss"]) / max(1, len(memory) - 1)
    took = float(np.median([one["session_ms"] for one in ready["loading"]])) / size
    told = [one["logits"] for way in (READY, NOTHING) for one in (record[way]["first"], *record[way]["together"])]
    same = told.count(told[0]) == len(told)
    large = size > SHARED_FROM_MB and len(memory) > 1
    return [
        Target(
            f"weights of more than {SHARED_FROM_MB} MB are one copy: another process adds less than half of them",
            f"{added:.1f} MB of {size:.1f}" if large else "–",
            added < size / 2 if large else None,
        ),
        Target(f"a session is created in at most {MS_PER_MB} ms per MB of weights", f"{took:.2f}", took <= MS_PER_MB),
        Target("the same logits in every process", "yes" if same else "no", same),
    ]


def markdown(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, ways = record["model"], [record[READY], record[NOTHING]]
    kinds = {"Pss": "PSS", "Rss": "RSS", "Pss_Anon": "PSS without files"}
    rows = []
    for n, line in enumerate(zip(*(way["together"] for way in ways), strict=True), 1):
        memory = [f"{one[key]:.1f}" for one in line for key in kinds]
        rows.append([str(n), *memory, *(f"{one['load_s']:.2f}" for one in line)])
    head = ["processes", *(f"{kind}, {way}" for way in (READY, NOTHING) for kind in kinds.values())]
    session = [float(np.median([one["session_ms"] for one in way["loading"]])) for way in ways]
    lines = [
        "## What do processes share that serve one bundle?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}), {model['mb']:.1f} MB of graph and weights, one "
        "thread a process. MB of all processes together, and the seconds that the last one took to load:\n",
        *table([*head, f"s, {READY}", f"s, {NOTHING}"], rows),
        f"\nThe very first process on a machine makes the bundle ready: it took {ways[0]['first']['load_s']:.2f} s to "
        f"load. Creating a session: {session[0]:.1f} ms of what is made ready, {session[0] / model['mb']:.2f} ms per "
        f"MB; {session[1]:.1f} ms where nothing is.\n",
        *targets_table(aims),
        "",
        common.machine_line(record["machine"]),
        "Raw: [sharing.json](results/sharing.json).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, write the results and the page's section, and print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--model", "--bundle", metavar="NAME|FOLDER", help="by default the bundle that comes with demur"
    )
    parser.add_argument("--processes", type=int, default=4, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="processes to time session creation in")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if min(options.processes, options.runs) < 1:
        parser.error("--processes and --runs: expected at least 1")
    if not Path("/proc/self/smaps_rollup").exists():
        absent("this benchmark reads /proc/PID/smaps_rollup, which Linux has since 4.14")
    bundle = _bundle.read(_bundle.find(options.model))
    record: dict[str, Any] = {
        "machine": common.machine_record(),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256, "mb": round((bundle.size - bundle.tokenizer.bytes) / 1e6, 3)},
    }
    with tempfile.TemporaryDirectory(prefix="demur-sharing-") as cache:
        record[READY] = measure(bundle, options.processes, options.runs, cache)
    record[NOTHING] = measure(bundle, options.processes, options.runs, _home.OFF)
    aims = targets(record)
    common.write_results("sharing", record | {"targets": [aim.record() for aim in aims]})
    section = markdown(record, aims)
    common.write_section("sharing", section)
    print(section)


if __name__ == "__main__":
    main()
