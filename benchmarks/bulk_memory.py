"""How much memory does a long run take? A million rows of any lengths, and rows of 50 MB, from file to file.

    python benchmarks/bulk_memory.py [--rows 1000000] [--lengths short 10k tail start middle end twins]
        [--kinds jsonl jsonl.gz jsonl.zst csv parquet] [--long 50000000] [--letters TEXT] [--group 100000] [--report]

`short` rows have 40 characters, `10k` rows 10,000, the lengths of `tail` are log-normal up to a million characters, and
the others are short rows with one of `--long` characters at the start, in the middle or at the end, or two in the
middle. The shipped model is loaded, and judges one text of its full length, so that what it takes is counted; the rows
get fake scores, as a million of them take it hours. Prints one line of JSON for each file: rows, its bytes, seconds,
the process's peak of resident memory (VmHWM) in MB of 10^6 bytes, and that before the first row was read. With
`--report`, also the peak of `demur report` over what came out.
"""

import argparse
import csv
import gzip
import io
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

KINDS = ("jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet")
LENGTHS = ("short", "10k", "tail", "start", "middle", "end", "twins")
_LONGEST_TAIL = 1_000_000
_WORDS = "the quick brown fox can not help with that because it never learnt how to jump over a lazy dog at night "


def main() -> None:
    """Measure each file in processes of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--lengths", nargs="+", choices=LENGTHS, default=LENGTHS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--long", type=int, default=50_000_000, help="characters of a long row")
    parser.add_argument("--letters", help="what a long row is made of (default: noise)")
    parser.add_argument("--group", type=int, default=100_000, help="rows of a row group")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--max-row-bytes", type=int)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for lengths in options.lengths:
        for kind in options.kinds:
            with tempfile.TemporaryDirectory() as folder:
                source, out = Path(folder, f"in.{kind}"), Path(folder, f"out.{kind}")
                for work in (_write, _score, *([_report] if options.report else [])):
                    process = spawn.Process(target=work, args=(source, out, lengths, options))
                    process.start()
                    process.join()
                    if process.exitcode:
                        raise SystemExit(f"{kind}, {lengths}: {work.__name__} ended with {process.exitcode}")


def _write(source: Path, out: Path, lengths: str, options: argparse.Namespace) -> None:
    rows = _rows(lengths, options)
    if source.suffix == ".parquet":
        _write_parquet(source, rows, options.group)
        return
    with ExitStack() as stack:
        stream = stack.enter_context(_opened(source))
        if ".csv" in source.suffixes:
            text = stack.enter_context(io.TextIOWrapper(stream, "utf-8", newline=""))
            writer = csv.DictWriter(text, ["id", "prompt", "response"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            for row in rows:
                stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _opened(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "wb", compresslevel=1)  # type: ignore[return-value]
    if path.suffix == ".zst":
        import zstandard

        opened: IO[bytes] = zstandard.open(path, "wb")
        return opened
    return path.open("wb")


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], group: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.int64()), ("prompt", pa.string()), ("response", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        held: list[dict[str, Any]] = []
        for row in rows:
            held.append(row)
            if len(held) == group:
                writer.write_table(pa.Table.from_pylist(held, schema), row_group_size=group)
                held = []
        if held:
            writer.write_table(pa.Table.from_pylist(held, schema), row_group_size=group)


def _rows(lengths: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    chance, rows = random.Random(0), options.rows
    middle = rows // 2
    places = {"start": {0}, "middle": {middle}, "end": {rows - 1}, "twins": {middle, middle + 1}}.get(lengths, set())
    words = _WORDS * (1 + _LONGEST_TAIL // len(_WORDS))
    for i in range(rows):
        length = 40
        if lengths == "10k":
            length = 10_000
        elif lengths == "tail":
            # A median of 400 characters, and one row in a thousand of more than 40,000.
            length = min(_LONGEST_TAIL, int(chance.lognormvariate(6.0, 1.5)))
        start = 0 if i in places else chance.randrange(len(_WORDS))
        response = _long(options) if i in places else f"{i} {words[start : start + length]}"
        yield {"id": i, "prompt": f"Question {i}?", "response": response}


def _long(options: argparse.Namespace) -> str:
    # Noise, as what can be packed tightly hides what packing takes.
    letters: str = options.letters or random.Random(0).randbytes(options.long // 2 + 1).hex()
    return (letters * (1 + options.long // len(letters)))[: options.long]


class _Quick:
    """A session that scores by a text's length, at once, and keeps nothing."""

    masked = False

    def __init__(self, threads: int) -> None:
        pass

    def run(self, token_ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        return np.array([[0.0, token_ids.shape[1] % 16 - 12.0]], np.float32)


def _score(source: Path, out: Path, lengths: str, options: argparse.Namespace) -> None:
    import demur
    from demur import Classifier, _bundle
    from demur._bulk import _formats, _tables
    from demur._bulk._inputs import find
    from demur._bulk._job import Job
    from demur._bulk._output import Place
    from demur._bulk._perform import perform

    model = demur.load(threads=1)
    model.check(_WORDS * 100)
    bundle = _bundle.read(_bundle.find(None))
    quick = Classifier(bundle, model._tokenizer, _Quick, threads=1, threshold=0.5)
    format = _formats.by_ending(out.name) or _formats.Format("jsonl")
    if format.name == "parquet":
        _tables.spare_memory()  # as the command does
    job = Job(
        inputs=find([str(source)]),
        output=(Place(str(out)), format),
        workers=options.workers,
        max_row_bytes=options.max_row_bytes,
        progress="none",
        tell=lambda phrase: None,
    )
    before, began = _peak(), time.monotonic()
    report = perform(quick, job, {})
    _tell(
        source,
        lengths,
        rows=report.tally.lines,
        failed=report.tally.failed,
        input_mb=round(source.stat().st_size / 1e6),
        seconds=round(time.monotonic() - began, 1),
        before_mb=before,
        peak_mb=_peak(),
    )


def _report(source: Path, out: Path, lengths: str, options: argparse.Namespace) -> None:
    from demur.cli import main as command

    page = out.with_name("report.html")
    status = command(["report", str(out), "-o", str(page)])
    _tell(source, lengths, report=status, page_kb=round(page.stat().st_size / 1e3), peak_mb=_peak())


def _tell(source: Path, lengths: str, **figures: Any) -> None:
    print(json.dumps({"kind": source.name.partition(".")[2], "lengths": lengths, **figures}), flush=True)


def _peak() -> int:
    """Return this process's peak of resident memory in MB (10^6 bytes)."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 // 10**6


if __name__ == "__main__":
    main()
