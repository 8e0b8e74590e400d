"""A process that does one job of `bench_bulk.py` once, so that its memory is that job's.

    python benchmarks/_bulk_process.py WAY WORKERS FOLDER [CHECKPOINT SIZE SORTED | CHECKPOINT trial]

A way is `stream`, a format, or a peer, whose batches are of so many texts, sorted by length if `SORTED` is 1. With
`trial` the peer tries its ways on the first rows and tells the seconds of each and the best. It prints a line of JSON.
"""

import contextlib
import importlib
import io
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import demur
from demur.cli import main as command


def stream(folder: Path, workers: int) -> float:
    """Judge rows in memory, with a model that has judged before."""
    with (folder / "in.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    model = demur.load(threads=1)
    list(model.stream([{"prompt": "Is it loaded?", "response": "It is."}] * workers, workers=workers))
    begun = time.perf_counter()
    list(model.stream(rows, workers=workers))
    return time.perf_counter() - begun


def score(folder: Path, ending: str, workers: int) -> float:
    """Run the command from file to file; it opens its model itself."""
    importlib.import_module("demur._assemble")  # numpy, onnxruntime and tokenizers, which loading would import
    asked = ["score", str(folder / f"in.{ending}"), "-o", str(folder / f"out.{ending}")]
    begun = time.perf_counter()
    status = command([*asked, "--workers", str(workers), "--progress", "none"])
    took = time.perf_counter() - begun
    if status != 0:
        raise SystemExit(f"demur score ended with status {status}")
    (folder / f"out.{ending}").unlink()
    return took


def peer(name: str, folder: Path, workers: int, checkpoint: Path, asked: list[str]) -> dict[str, Any]:
    """Let a peer do the job, its model loaded before, or try its ways."""
    # Fast tokenizers have threads of their own, which don't survive the fork of `num_proc`.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # subtle: these come only now, as what demur's ways hold must not count them.
    import datasets

    import _bulk_peers

    datasets.disable_progress_bars()
    made = _bulk_peers.build(name, checkpoint, folder)
    source, out = folder / "in.jsonl", folder / "out.peer"
    if asked == ["trial"]:
        with source.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line, _ in zip(lines, range(_bulk_peers.TRIED), strict=False)]
        took = made.trial(rows)
        return {"trial": took, "size": made.way.size, "sorted": made.way.sorted}
    made.way = _bulk_peers.Way(int(asked[0]), asked[1] == "1")
    made.scores([{"prompt": "Is it loaded?", "response": "It is."}])
    begun = time.perf_counter()
    _bulk_peers.score_file(made, source, out, workers)
    took_s = time.perf_counter() - begun
    with source.open("rb") as before, out.open("rb") as after:
        if sum(1 for _ in before) != sum(1 for _ in after):
            raise SystemExit(f"{name}: the output has not as many rows as the input")
    out.unlink()
    shutil.rmtree(out.with_suffix(".cache"))
    return {"seconds": took_s}


def main() -> None:
    """Do what the command line says."""
    way, workers, folder, *rest = sys.argv[1:]
    # What libraries print on standard output is none of what is told there.
    with contextlib.redirect_stdout(io.StringIO()):
        if way == "stream":
            told: dict[str, Any] = {"seconds": stream(Path(folder), int(workers))}
        elif rest:
            told = peer(way, Path(folder), int(workers), Path(rest[0]), rest[1:])
        else:
            told = {"seconds": score(Path(folder), way, int(workers))}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
