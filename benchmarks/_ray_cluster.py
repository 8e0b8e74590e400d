"""A cluster of this machine for `bench_ray.py`: started, filled with a job, and its object store watched."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from demur.ray import score_with_ray
from demur.testing import fake_classifier

# Where Ray has its object store on Linux, as memory.
SHARED_MEMORY = Path("/dev/shm")
# Seconds between two looks into the store, and what a made-up score takes: reading has to run ahead of it.
_EVERY, _PAUSE = 0.1, 0.004
_REPLY = "x" * 32_000


class Store:
    """The most that the object store took, from its start to now.

    Ray's own figures are those of its dashboard, which is not there. The store's memory is a file of a temporary
    filesystem whose pages are taken as they are first written, and kept; what it has put on disk is in a folder.

    Args:
        spilled_to: The folder that it writes to for want of room.
    """

    def __init__(self, spilled_to: Path) -> None:
        self._folder, self._before = spilled_to, _taken()
        self._peak = self._spilled = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Store":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def found(self) -> dict[str, float]:
        """Return the most that it held, and the most that was on disk, in MB."""
        self._look()
        return {"peak_mb": round(self._peak / 1e6, 1), "spilled_mb": round(self._spilled / 1e6, 1)}

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, _taken() - self._before)
        size = 0
        for path in self._folder.rglob("*"):
            try:
                size += path.stat().st_size
            except FileNotFoundError:
                continue  # it was needed no more
        self._spilled = max(self._spilled, size)


def _taken() -> int:
    return shutil.disk_usage(SHARED_MEMORY).used


@contextmanager
def cluster(cores: int, store_mb: int, folder: Path) -> Iterator[Store]:
    """Start a cluster with an object store of so many MB, watch the store, and end both."""
    with Store(folder) as store:
        ray.init(
            num_cpus=cores,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=store_mb * 10**6,
            object_spilling_directory=str(folder),
        )
        try:
            yield store
        finally:
            ray.shutdown()


def slowly(text: str) -> float:
    """Return a made-up score after a moment in which nothing is computed."""
    time.sleep(_PAUSE)
    return 0.1


def fill(folder: Path, megabytes: int, actors: int) -> dict[str, Any]:
    """Send a file of long rows through the cluster, with made-up scores; return what it was and what came out."""
    rows = megabytes * 10**6 // len(_REPLY)
    source, out = folder / "long.jsonl", folder / "long"
    with source.open("w", encoding="utf-8") as stream:
        stream.writelines(f'{{"prompt": "Question {i}?", "response": "{_REPLY}"}}\n' for i in range(rows))
    counts = score_with_ray([source], out, model=fake_classifier(slowly), actors=actors)
    if (counts.rows, counts.failed) != (rows, 0):
        raise SystemExit(f"of {rows} rows {counts.rows} came out, {counts.failed} of them without a score")
    found = {"file_mb": megabytes, "rows": rows, "parts": len(list(out.iterdir()))}
    source.unlink()
    shutil.rmtree(out)
    return found
