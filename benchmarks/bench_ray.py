"""What does Ray cost beside the plain engine on the same cores, and what would a billion rows take?

    python benchmarks/bench_ray.py [--rows N] [--rounds N] [--workers N] [--fill MB ...] [--data FOLDER]

The same JSONL file through `demur score` and `demur score --engine ray`, in an order drawn anew each round and with
the same result to the byte. The cluster runs from before the first to after the last; a job of one row tells what a
job costs before its rows do. Then longer and longer files, with made-up scores that come slowly, show how much the
object store takes. What a large cluster would do is worked out from that.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import _bulk_rows
import _common as common
from _needs import absent
from _ray_estimate import Measured, estimate
from demur.cli import main as command

PLAIN, RAY, ONE_ROW = "plain", "ray", "ray, one row"
STORE_MB = 256
BILLION, CORES = 10**9, 1000


def score(source: Path, out: Path, *options: str) -> bytes:
    """Run the command, and return all that it wrote."""
    status = command(["score", str(source), "-o", str(out), *options])
    if status != 0:
        raise SystemExit(f"demur score ended with status {status}")
    parts = sorted(out.iterdir()) if out.is_dir() else [out]
    return b"".join(part.read_bytes() for part in parts)


def measure(folder: Path, workers: int, rounds: int, keep: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Return each way's seconds, round by round, and the bytes of what was written.

    Args:
        folder: Has `rows.jsonl` and `one.jsonl`.
        workers: Workers of the plain engine, and actors.
        rounds: How often.
        keep: Is handed what there is after each round.
    """
    ways: dict[str, tuple[str, tuple[str, ...]]] = {
        PLAIN: ("rows", ("--workers", str(workers), "--progress", "none")),
        RAY: ("rows", ("--workers", str(workers), "--engine", "ray")),
        ONE_ROW: ("one", ("--workers", str(workers), "--engine", "ray")),
    }
    found: dict[str, Any] = {"seconds": {name: [] for name in ways}, "bytes_out": 0}
    order = random.Random(common.SEED)
    for number in range(rounds):
        written = {}
        for name in order.sample(list(ways), len(ways)):
            source, options = ways[name]
            begun = time.perf_counter()
            written[name] = score(folder / f"{source}.jsonl", folder / f"{name} {number}", *options)
            found["seconds"][name].append(round(time.perf_counter() - begun, 3))
        if written[RAY] != written[PLAIN]:
            raise SystemExit("the two engines wrote different things")
        found["bytes_out"] = len(written[RAY])
        keep(found)
    return found


def summary(seconds: Mapping[str, Sequence[float]], rows: int, workers: int) -> dict[str, float]:
    """Return rows a second and what they say of Ray, by the medians of the rounds."""
    plain, ray, one = (float(np.median(seconds[name])) for name in (PLAIN, RAY, ONE_ROW))
    # The plain engine opens its model in some hundredths of a second, so its rate needs no such correction.
    alone = (rows - 1) / max(ray - one, 1e-9)
    return {
        "plain": round(rows / plain, 2),
        "ray": round(rows / ray, 2),
        "job_seconds": round(one, 2),
        "ray_once_begun": round(alone, 2),
        "overhead": round(1 - alone * plain / rows, 3),
        "per_core": round(alone / workers, 2),
    }


def parts(source: Path, lines: Sequence[bytes]) -> dict[str, float]:
    """Return the rows a second that the tasks around the actors count, read and write, each on one core by itself."""
    import pyarrow
    from pyarrow import fs

    from demur._ray import _lines, _sink

    filesystem = fs.LocalFileSystem()
    whole = {"path": str(source), "start": 0, "stop": source.stat().st_size, "alone": False}
    rows = pyarrow.table({"line": pyarrow.array(lines, pyarrow.large_binary())})
    read = pyarrow.Table.from_pylist([{**whole, "first": 1}])

    def write() -> None:
        with filesystem.open_output_stream(str(source.with_suffix(".out")), compression=None) as stream:
            _sink._write_lines(stream, rows)

    works: dict[str, Callable[[], object]] = {
        "counted": lambda: _lines._Count(filesystem)(whole),
        "read": lambda: list(_lines._Read(filesystem)(read)),
        "written": write,
    }
    return {name: round(len(lines) / _fastest(work), 1) for name, work in works.items()}


def _fastest(work: Callable[[], object]) -> float:
    """The least seconds of three times."""
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def on_paper(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a billion such rows would take on a thousand cores, each as fast as one was here."""
    rows = record["rows"]
    largest = record["store"][-1]
    measured = Measured(
        rows_per_core=record["found"]["per_core"],
        bytes_in=record["bytes_in"] / rows,
        bytes_out=record["bytes_out"] / rows,
        file=largest["file_mb"] * 1e6 / largest["parts"],
        **record["parts"],
    )
    return {"rows": BILLION, "cores": CORES, "measured": asdict(measured)} | asdict(estimate(measured, BILLION, CORES))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1200, metavar="N", help="conversations (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="on each side (default: %(default)s)")
    parser.add_argument(
        "--fill", type=int, nargs="+", default=[32, 128, 512], metavar="MB", help="sizes of files for the object store"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    if min(options.rows, options.rounds, options.workers, *options.fill) < 1:
        parser.error("--rows, --rounds, --workers and --fill: expected at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results and section."""
    options = parse(arguments)
    if find_spec("ray") is None or find_spec("pyarrow") is None:
        absent("this benchmark needs Ray: pip install -e '.[bench,ray]'")
    # subtle: these import Ray.
    import _ray_cluster
    import _ray_page

    rows = _bulk_rows.read(options.data, options.rows)
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as name:
        folder = Path(name)
        source = folder / "rows.jsonl"
        _bulk_rows.write_lines(rows, source)
        _bulk_rows.write_lines(rows[:1], folder / "one.jsonl")
        record: dict[str, Any] = {
            "machine": common.machine_record("ray", "pyarrow"),
            "rows": len(rows),
            "workers": options.workers,
            "bytes_in": source.stat().st_size,
        }
        spilled = folder / "spilled"
        spilled.mkdir()
        with _ray_cluster.cluster(options.workers, STORE_MB, spilled):
            record |= measure(folder, options.workers, options.rounds, lambda found: _keep({**record, **found}))
        record["store_mb"], record["store"] = STORE_MB, []
        for size in options.fill:
            with _ray_cluster.cluster(options.workers, STORE_MB, spilled) as store:
                filled = _ray_cluster.fill(folder, size, options.workers)
                record["store"].append(filled | store.found())
            _keep(record)
        many = folder / "many.jsonl"
        lines = source.read_bytes().splitlines(keepends=True) * max(1, 100_000 // len(rows))
        many.write_bytes(b"".join(lines))
        record["parts"] = parts(many, [line.rstrip() for line in lines])
    record["found"] = summary(record["seconds"], record["rows"], options.workers)
    record["on_paper"] = on_paper(record)
    _keep(record)
    section = _ray_page.markdown(record)
    common.write_section("ray", section)
    print(section)


def _keep(record: Mapping[str, Any]) -> None:
    common.write_results("ray", record)


if __name__ == "__main__":
    main()
