"""What Ray costs: rows a second through `score_with_ray` and through the plain engine, on the same cores.

    python benchmarks/bench_ray.py ROWS.jsonl [--rounds 3] [--workers 2]

Both score the same JSONL file in turn, so that other work on the machine meets both alike. The cluster is started
before the first; the models are loaded anew for each job.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import ray

import demur
from demur._score import score_file
from demur.ray import score_with_ray


def _plain(source: Path, target: Path, workers: int) -> None:
    model = demur.load(threads=1)
    with source.open("rb") as read, target.open("wb") as write:
        score_file(model, read, write, workers=workers, turns="last")


def main() -> None:
    """Time both and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with options.rows.open("rb") as stream:
        rows = sum(1 for _ in stream)
    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    seconds: dict[str, list[float]] = {"plain": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        for i in range(options.rounds):
            began = time.perf_counter()
            _plain(options.rows, Path(folder) / f"plain{i}", options.workers)
            seconds["plain"].append(time.perf_counter() - began)
            began = time.perf_counter()
            score_with_ray([options.rows], Path(folder) / f"ray{i}", actors=options.workers)
            seconds["ray"].append(time.perf_counter() - began)
            plain, parts = Path(folder) / f"plain{i}", sorted((Path(folder) / f"ray{i}").iterdir())
            assert plain.read_bytes() == b"".join(part.read_bytes() for part in parts)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rates = {name: round(rows / value, 2) for name, value in median.items()}
    ratio = round(median["plain"] / median["ray"], 3)
    print(json.dumps({"rows": rows, "rows_per_second": rates, "ray_over_plain": ratio, "seconds": seconds}))


if __name__ == "__main__":
    main()
