"""How many rows a second does `demur score` do, and what do files cost beside `model.stream`?

    python benchmarks/bench_bulk.py [--rows N] [--rounds N] [--data FOLDER]

One process, the same conversations, in turn and in an order drawn anew each round: `model.stream` over rows in memory,
and `demur score` from file to file, JSONL, CSV and Parquet, with one worker and with two. No conversation comes twice.
The command opens its own model, which its time includes.
"""

import argparse
import csv
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import _common as common
import _texts
import demur
from _report import Target, table, targets_table
from demur.cli import main as command

WORKERS = (1, 2)
SHARE = 0.95
MOST = 4000  # characters of a reply


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=600, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    common.require("pyarrow")
    rows = read(options.data, options.rows)
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder:
        seconds = measure(rows, Path(folder), options.rounds)
    found = {name: round(len(rows) / float(np.median(took)), 2) for name, took in seconds.items()}
    aims = targets(seconds)
    record = {
        "machine": common.machine_record("pyarrow"),
        "rows": len(rows),
        "seconds": seconds,
        "rows_per_second": found,
        "targets": [aim.record() for aim in aims],
    }
    common.write_results("bulk", record)
    common.write_section("bulk", page(record, aims))
    print(page(record, aims))


def read(data: Path, count: int) -> list[dict[str, str]]:
    """Return so many different conversations, drawn from the pool."""
    pool = _texts.read_pool(data).rows
    drawn = random.Random(common.SEED).sample(list(pool), len(pool))
    rows = {row["response"][:MOST]: {"prompt": row["prompt"], "response": row["response"][:MOST]} for row in drawn}
    return list(rows.values())[:count]


def measure(rows: list[dict[str, str]], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Return each way's seconds, round by round."""
    write(rows, folder)
    model = demur.load(threads=1)
    ways: dict[str, Callable[[], object]] = {}
    for workers in WORKERS:
        ways[f"stream, {workers}"] = lambda workers=workers: list(model.stream(rows, workers=workers))  # type: ignore[misc]
        for ending in ("jsonl", "csv", "parquet"):
            ways[f"{ending}, {workers}"] = lambda e=ending, w=workers: score(folder, e, w)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(common.SEED)
    for _ in range(rounds):
        for name in order.sample(list(ways), len(ways)):
            start = time.perf_counter()
            ways[name]()
            seconds[name].append(round(time.perf_counter() - start, 3))
    return seconds


def write(rows: list[dict[str, str]], folder: Path) -> None:
    """Write the rows in each format."""
    import pyarrow
    from pyarrow import parquet

    (folder / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["prompt", "response"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "in.parquet", row_group_size=200)


def score(folder: Path, ending: str, workers: int) -> None:
    """Run the command from file to file."""
    out = folder / f"out.{ending}"
    status = command(
        ["score", str(folder / f"in.{ending}"), "-o", str(out), "--workers", str(workers), "--progress", "none"]
    )
    if status != 0:
        raise SystemExit(f"demur score ended with status {status}")
    out.unlink()


def targets(seconds: dict[str, list[float]]) -> list[Target]:
    """Return the aims beside what was found: the median of the rounds' own ratios."""
    made = []
    for ending in ("jsonl", "parquet"):
        share = float(np.median(np.divide(seconds["stream, 2"], seconds[f"{ending}, 2"])))
        aim = f"{ending} to {ending}, 2 workers: at least {SHARE:.0%} of model.stream's rows a second"
        made.append(Target(aim, f"{share:.1%}", share >= SHARE))
    gain = float(np.median(np.divide(seconds["stream, 1"], seconds["stream, 2"])))
    return [*made, Target("model.stream, 2 workers: at least 1.9 times one", f"{gain:.2f}x", gain >= 1.9)]


def page(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the section."""
    rate = record["rows_per_second"]
    names = {"stream": "`model.stream`, rows in memory"}
    rows = [
        [names.get(way, f"`demur score`, {way}"), *(f"{rate[f'{way}, {workers}']:.1f}" for workers in WORKERS)]
        for way in ("stream", "jsonl", "csv", "parquet")
    ]
    lines = [
        "## How many rows a second from file to file?\n",
        f"{record['rows']} conversations, rows a second, the median of {len(record['seconds']['stream, 1'])} rounds; "
        "the command's time includes opening its model.\n",
        *table(["", *(f"{workers} worker{'s' * (workers > 1)}" for workers in WORKERS)], rows),
        "",
        *targets_table(aims),
        "",
        common.machine_line(record["machine"]),
        "Raw: [bulk.json](results/bulk.json).",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
