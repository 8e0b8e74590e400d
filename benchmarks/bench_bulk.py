"""How many rows a second does `demur score` do, what do files cost beside `model.stream`, and what do others do?

    python benchmarks/bench_bulk.py [--rows N] [--rounds N] [--minutes M] [--data FOLDER] [--checkpoint FOLDER]

The same conversations through `model.stream` from memory and through `demur score` from file to file, JSONL, CSV and
Parquet, with one worker and with two; with `--checkpoint` also through transformers' and optimum's pipelines in
`datasets.map`, which take `pip install datasets`. Each job is a process of its own. No conversation comes twice. Every
job's seconds are kept as soon as it ends; an interrupt ends the measuring, not what was measured.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _bulk_page as page
import _bulk_rows
import _common as common
import _source
import _tree_memory
from _peers import INT8, TRANSFORMERS, packages

SCRIPT = Path(__file__).with_name("_bulk_process.py")
PEERS = (TRANSFORMERS, INT8)
# What a job tells, and the most MB that it had in memory.
Told = tuple[dict[str, Any], float]


def job(way: str, workers: int, folder: Path, *asked: object) -> Told:
    """Run a job in a process of its own."""
    command = [sys.executable, str(SCRIPT), way, str(workers), str(folder), *map(str, asked)]
    told, peak = _tree_memory.run(command)
    return json.loads(told), peak


def peers(checkpoint: Path | None, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return how each peer is fastest on a few rows, and for each that is absent the reason."""
    best: dict[str, Any] = {}
    absent: dict[str, str] = {}
    for name in PEERS:
        if checkpoint is None:
            absent[name] = "--checkpoint was not given"
            continue
        try:
            best[name], _ = job(name, 1, folder, checkpoint.resolve(), "trial")
        except RuntimeError as error:
            absent[name] = str(error)
    return best, absent


def measure(jobs: Mapping[str, Callable[[], Told]], record: dict[str, Any], rounds: int, end: float) -> None:
    """Run every job in every round, and keep what it took in the record and in the results.

    Args:
        jobs: What runs each way once, by its name.
        record: Gets `seconds` and `peak_mb` by way, a value a round.
        rounds: How often.
        end: The time (`time.monotonic`) from which no other round begins.
    """
    order = random.Random(common.SEED)
    for number in range(rounds):
        if number and time.monotonic() > end:
            print(f"{number} of {rounds} rounds are done and the minutes are over", file=sys.stderr)
            return
        for name in order.sample(list(jobs), len(jobs)):
            told, peak = jobs[name]()
            record["seconds"][name].append(round(told["seconds"], 3))
            record["peak_mb"][name].append(peak)
            record["rows_per_second"] = page.rates(record["seconds"], record["rows"])
            common.write_results("bulk", record)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600, metavar="N", help="conversations (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=12, metavar="M", help="no round but the first begins later (%(default)s)"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FOLDER", help="what the bundle was made from, for the peers"
    )
    options = parser.parse_args(arguments)
    if min(options.rows, options.rounds) < 1:
        parser.error("--rows and --rounds: expected at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results and section."""
    options, begun = parse(arguments), time.monotonic()
    common.require("pyarrow")
    rows = _bulk_rows.read(options.data, options.rows)
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as name:
        folder = Path(name)
        _bulk_rows.write_each(rows, folder)
        best, absent = peers(options.checkpoint, folder)
        jobs: dict[str, Callable[[], Told]] = {
            page.key(way, workers): partial(job, way, workers, folder)
            for way in (page.STREAM, *page.FORMATS)
            for workers in page.WORKERS
        }
        for peer, found in best.items():
            how = (options.checkpoint.resolve(), found["size"], int(found["sorted"]))
            jobs[page.key(peer, page.WORKERS[-1])] = partial(job, peer, page.WORKERS[-1], folder, *how)
        record: dict[str, Any] = {
            "machine": common.machine_record("pyarrow", *(["datasets"] if best else []), *packages(best)),
            "rows": len(rows),
            "characters": sum(len(row["prompt"]) + len(row["response"]) for row in rows),
            "checkpoint": options.checkpoint and _source.record(options.checkpoint),
            "peers": best,
            "absent": absent,
            "seconds": {name: [] for name in jobs},
            "peak_mb": {name: [] for name in jobs},
            "rows_per_second": {},
        }
        try:
            measure(jobs, record, options.rounds, begun + 60 * options.minutes)
        except KeyboardInterrupt:
            print("interrupted; what was measured is kept", file=sys.stderr)
    aims = page.targets(record["seconds"])
    common.write_results("bulk", record | {"targets": [aim.record() for aim in aims]})
    section = page.markdown(record, aims)
    common.write_section("bulk", section)
    print(section)


if __name__ == "__main__":
    main()
