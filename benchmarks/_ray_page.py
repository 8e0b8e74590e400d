"""What `bench_ray.py` says of its figures."""

from collections.abc import Mapping
from typing import Any

import _common as common
from _report import table


def markdown(record: Mapping[str, Any]) -> str:
    """Return the section."""
    found, workers = record["found"], record["workers"]
    rounds = len(record["seconds"]["ray"])
    sizes = [
        [
            f"{one['file_mb']}",
            f"{one['rows']:,}",
            f"{one['peak_mb']:.0f}",
            f"{one['spilled_mb']:.0f}",
            f"{one['parts']}",
        ]
        for one in record["store"]
    ]
    lines = [
        "## What does Ray cost, and what would a billion rows take?\n",
        f"{record['rows']:,} conversations, JSONL to JSONL, `demur score` with {workers} workers and with `--engine "
        f"ray` and {workers} actors on the same cores, in an order drawn anew each round, byte for byte the same "
        f"result; the median of {rounds} rounds. The cluster ran throughout.\n",
        *table(
            ["", "rows/s"],
            [
                ["plain engine", f"{found['plain']:.1f}"],
                ["Ray, the whole job", f"{found['ray']:.1f}"],
                [
                    f"Ray, less the {found['job_seconds']:.1f} s that a job of one row takes",
                    f"{found['ray_once_begun']:.1f}",
                ],
            ],
        ),
        f"\nSo Ray costs {found['job_seconds']:.1f} s a job, in which actors start and open their models, and from "
        f"then on {found['overhead']:.1%} of the plain engine's rate.\n",
        f"What the object store took at most, of {record['store_mb']} MB that it was given, while files of rows of "
        "32 kB went through it with made-up scores that came more slowly than rows are read:\n",
        *table(["MB of file", "rows", "MB in the store", "MB put on disk", "files written"], sizes),
        "",
        *_on_paper(record["on_paper"]),
        "",
        common.machine_line(record["machine"]),
        "Raw: [ray.json](results/ray.json).",
    ]
    return "\n".join(lines)


def _on_paper(paper: Mapping[str, Any]) -> list[str]:
    """A paragraph of what was worked out and not tried."""
    measured, cores, rows = paper["measured"], paper["cores"], paper["rows"]
    (first, at), *others = paper["limits"]
    total_in, total_out = (measured[f"bytes_{way}"] * rows / 1e12 for way in ("in", "out"))
    return [
        f"On paper, for {rows:,} such rows at {measured['rows_per_core']:.1f} rows/s on a core: "
        f"{paper['core_hours']:,.0f} core-hours, which {cores:,} cores do in {paper['hours']:.1f} hours, "
        f"{60 * paper['counting_hours']:.0f} minutes of them a first pass that counts lines while no core judges. "
        f"{total_in:.2f} TB are read twice and {total_out:.2f} TB written, as {paper['files']:,} files. The cores "
        f"are the limit until there are some {_round(at):,}; then {first} are, "
        + " and ".join(f"{part} at {_round(cores_then):,}" for part, cores_then in others)
        + f". Everything but the judging was measured on one core of this machine with files in memory, and a cluster "
        f"of {cores:,} cores was not tried: Ray's own scheduling, stragglers, and machines that leave are not in this.",
    ]


def _round(cores: int) -> int:
    """Two figures are all that this is good for."""
    digits = max(0, len(str(cores)) - 2)
    return cores // 10**digits * 10**digits
