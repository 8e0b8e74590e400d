"""What `bench_bulk.py` makes of its seconds: rates, targets, and the page's section."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import _common as common
from _peers import INT8, NAMES, TRANSFORMERS
from _report import Target, absences, table, targets_table

STREAM, FORMATS = "stream", ("jsonl", "csv", "parquet")
WORKERS = (1, 2)
SHARE, GAIN = 0.95, 1.9
_SAID = {STREAM: "`model.stream`, rows in memory", TRANSFORMERS: "transformers pipeline", INT8: "optimum, int8"}


def key(way: str, workers: int) -> str:
    """Return the name of a way with so many workers."""
    return f"{way}, {workers}"


def rates(seconds: Mapping[str, Sequence[float]], rows: int) -> dict[str, float]:
    """Return the rows a second of each way that ended once, by the median of its rounds."""
    return {way: round(rows / float(np.median(took)), 2) for way, took in seconds.items() if took}


def targets(seconds: Mapping[str, Sequence[float]]) -> list[Target]:
    """Return the aims beside what was found: the median of the rounds' own ratios."""
    most = WORKERS[-1]
    aims = [
        (
            f"{ending} to {ending}, {most} workers: at least {SHARE:.0%} of `model.stream`'s rows a second",
            _ratio(seconds, key(STREAM, most), key(ending, most)),
            SHARE,
        )
        for ending in ("jsonl", "parquet")
    ]
    gain = _ratio(seconds, key(STREAM, 1), key(STREAM, most))
    aims.append((f"`model.stream`, {most} workers: at least {GAIN:g} times one", gain, GAIN))
    return [
        Target(aim, "–" if found is None else f"{found:.3f}", None if found is None else found >= least)
        for aim, found, least in aims
    ]


def _ratio(seconds: Mapping[str, Sequence[float]], over: str, under: str) -> float | None:
    """Return how many times as long `over` takes, None where no round has both."""
    rounds = min(len(seconds.get(over, ())), len(seconds.get(under, ())))
    if not rounds:
        return None
    return float(np.median(np.divide(seconds[over][:rounds], seconds[under][:rounds])))


def markdown(record: Mapping[str, Any], aims: Sequence[Target]) -> str:
    """Return the section."""
    seconds = record["seconds"]
    lines = [
        "## How many rows a second from file to file?\n",
        f"{record['rows']} conversations, every job in a process of its own, in an order drawn anew each round; the "
        f"median of {min(map(len, seconds.values()), default=0)} round(s). Importing is not counted. demur's command "
        "opens its model within its time, a peer and `model.stream` before. Memory is the most that the job's "
        "processes had between them at any look, two looks a second (PSS).\n",
        *table(
            ["", *(f"rows/s, {_workers(n)}" for n in WORKERS), *(f"MB, {_workers(n)}" for n in WORKERS)],
            [_line(record, way, _SAID.get(way, f"`demur score`, {way}")) for way in (STREAM, *FORMATS)],
        ),
        *_peers(record),
        *absences(record["absent"], NAMES),
        "",
        *targets_table(aims),
        "",
        common.machine_line(record["machine"]),
        "Raw: [bulk.json](results/bulk.json).",
    ]
    return "\n".join(lines)


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"


def _line(record: Mapping[str, Any], way: str, said: str) -> list[str]:
    found = [record["rows_per_second"].get(key(way, count)) for count in WORKERS]
    memory = [max(record["peak_mb"].get(key(way, count), ()), default=None) for count in WORKERS]
    return [said, *(_number(value, 1) for value in found), *(_number(value, 0) for value in memory)]


def _peers(record: Mapping[str, Any]) -> list[str]:
    most = WORKERS[-1]
    shown = [name for name in record["peers"] if record["rows_per_second"].get(key(name, most))]
    if not shown:
        return []
    return [
        f"\nThe same JSONL file through `datasets.map` with `num_proc={most}`, one thread in each process, at the "
        "fastest of the batch sizes tried:\n",
        *table(
            ["", "batches of", "rows/s", "MB", f"times `demur score`, jsonl, {_workers(most)} is as fast"],
            [_peer(record, name, record["peers"][name]) for name in shown],
        ),
    ]


def _peer(record: Mapping[str, Any], name: str, found: Mapping[str, Any]) -> list[str]:
    most = key(name, WORKERS[-1])
    times = _ratio(record["seconds"], most, key("jsonl", WORKERS[-1]))
    batches = f"{found['size']}{', sorted by length' * found['sorted']}"
    memory = _number(max(record["peak_mb"][most]), 0)
    return [_SAID[name], batches, _number(record["rows_per_second"][most], 1), memory, _number(times, 2)]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
