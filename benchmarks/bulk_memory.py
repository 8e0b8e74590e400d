"""How much memory does a long run take? A million rows of uneven lengths, and one of 50 MB, without a model.

    python benchmarks/bulk_memory.py [--rows 1000000] [--long 50000000] [--formats jsonl parquet]

The scores are fake, so that this measures reading, tokenising, writing and the journal. Prints one line of JSON for
each format: rows, seconds, the process's peak of resident memory (VmHWM) with its imports, and before the run began.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure each format in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--long", type=int, default=50_000_000, help="characters of one row among them; 0 for none")
    parser.add_argument("--letter", default="x", help="what the long row is made of")
    parser.add_argument("--formats", nargs="+", default=["jsonl", "parquet"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.formats:
            source = Path(folder, f"in.{name}")
            for work in (_write, _measure):
                process = spawn.Process(target=work, args=(source, options))
                process.start()
                process.join()
            source.unlink()


def _write(source: Path, options: argparse.Namespace) -> None:
    if source.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = ["id", "prompt", "response"]
        schema = pa.schema([("id", pa.int64()), ("prompt", pa.string()), ("response", pa.string())])
        with pq.ParquetWriter(source, schema) as writer:
            held: list[dict[str, Any]] = []
            for row in _rows(options):
                held.append(row)
                if len(held) == 100_000:
                    writer.write_table(pa.Table.from_pylist(held, schema).select(names))
                    held = []
            writer.write_table(pa.Table.from_pylist(held, schema).select(names))
    else:
        with source.open("w") as stream:
            for row in _rows(options):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows whose lengths are log-normal, as those of real replies are."""
    chance = random.Random(0)
    for i in range(options.rows):
        words = min(2_000, int(chance.lognormvariate(2.5, 1.2)))
        response = options.letter * options.long if i == options.rows // 2 else f"word{i % 999} " * (1 + words)
        yield {"id": i, "prompt": f"Question {i}?", "response": response}


def _measure(source: Path, options: argparse.Namespace) -> None:
    from demur._bulk import _formats, _tables
    from demur._bulk._inputs import find
    from demur._bulk._job import Job
    from demur._bulk._output import Place
    from demur._bulk._perform import perform
    from demur.testing import fake_classifier

    before = _peak()
    if source.suffix == ".parquet":
        _tables.spare_memory()  # as the command does
    out = source.with_name(f"out{source.suffix}")
    format = _formats.by_ending(out.name) or _formats.Format("jsonl")
    job = Job(
        inputs=find([str(source)]), output=(Place(str(out)), format), workers=options.workers, progress="none"
    )  # fmt: skip
    began = time.monotonic()
    report = perform(fake_classifier(0.1), job, {})
    print(
        json.dumps(
            {
                "format": source.suffix[1:],
                "rows": report.tally.lines,
                "failed": report.tally.failed,
                "input_mb": round(source.stat().st_size / 1e6),
                "seconds": round(time.monotonic() - began, 1),
                "before_mb": before,
                "peak_mb": _peak(),
            }
        ),
        flush=True,
    )
    out.unlink()


def _peak() -> int:
    """Return this process's peak of resident memory in MB (10^6 bytes)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 // 10**6


if __name__ == "__main__":
    main()
