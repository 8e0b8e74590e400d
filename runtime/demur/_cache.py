"""Graphs that one process makes ready and those after it map into memory; nothing in it is missed if it is deleted.

An entry is a folder named by all that its graph depends on. It appears under that name when it is whole, and one that
is not as its record says is made anew. `$DEMUR_CACHE` says where they lie (`demur._home.cache`); whoever can write
there decides what is scored, as with bundles.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from demur import _home

GRAPH, WEIGHTS = "model.onnx", "model.onnx_data"
_RECORD, _LOCK = "entry.json", ".lock"
# How long to wait for a process that is making the same entry, and how long an entry is kept that nobody loads.
_WAIT_S, _KEPT_S = 60.0, 30 * 24 * 3600.0


def graph(key: Mapping[str, Any], room: int, make: Callable[[Path], bool]) -> Path | None:
    """Return the graph of an entry, made now if it is not there.

    Args:
        key: All that the graph depends on, fit for JSON.
        room: Bytes that have to be free on the disk for an entry to be made.
        make: Writes `GRAPH` and `WEIGHTS` into a folder and tells whether there is anything in having them; if not,
            that alone is kept. If it raises, nothing is.

    Returns:
        None where there is nothing in it, or where nothing can be kept.
    """
    home = _home.cache()
    if home is None:
        return None
    entry = home / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    try:
        found = _read(entry)
        if found is None:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(entry.with_suffix(_LOCK)) as mine:
                found = _read(entry)
                if found is None and mine and shutil.disk_usage(home).free >= room:
                    found = _write(entry, key, make)
                    _tidy(home)
        elif (used := entry / _RECORD).stat().st_mtime < time.time() - _KEPT_S / 10:
            with contextlib.suppress(OSError):  # another user's
                used.touch()
    except Exception:  # whatever stands in the way of keeping a graph, its bundle can still be loaded
        return None
    return entry / GRAPH if found else None


def forget(path: Path) -> None:
    """Delete the entry of a graph that was returned but can't be used."""
    shutil.rmtree(path.parent, ignore_errors=True)


def held() -> tuple[int, int]:
    """Return how many entries are kept, and their bytes."""
    home = _home.cache()
    records = list(home.glob(f"*/{_RECORD}")) if home else []
    return len(records), sum(file.stat().st_size for record in records for file in record.parent.iterdir())


def _read(entry: Path) -> bool | None:
    """Return whether an entry has a graph; None if there is no entry, or not the one that was written."""
    try:
        record = json.loads((entry / _RECORD).read_text(encoding="utf-8"))
        return bool(record["files"]) if record["files"] == _facts(entry) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _facts(entry: Path) -> dict[str, Any]:
    """Return what an entry's record says of its files."""
    if not (entry / GRAPH).exists() and not (entry / WEIGHTS).exists():
        return {}
    # subtle: to hash as many weights takes longer than to load them. They were hashed before they were written, and
    # whatever has changed since then has changed the time of the last change.
    weights = (entry / WEIGHTS).stat()
    return {
        GRAPH: {"sha256": hashlib.sha256((entry / GRAPH).read_bytes()).hexdigest()},
        WEIGHTS: {"bytes": weights.st_size, "changed_ns": weights.st_mtime_ns},
    }


def _write(entry: Path, key: Mapping[str, Any], make: Callable[[Path], bool]) -> bool:
    """Make an entry, while its lock is held, and return whether it has a graph."""
    for left in (entry, *entry.parent.glob(f".{entry.name}-*")):
        shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        if not make(made):
            (made / GRAPH).unlink(missing_ok=True)
            (made / WEIGHTS).unlink(missing_ok=True)
        for file in made.iterdir():
            # subtle: in whole seconds, which is all that an archive or an image of a container keeps.
            os.utime(file, (time.time(), int(time.time())))
            _flush(file)
        record = {"key": dict(key), "files": _facts(made)}
        (made / _RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        _flush(made / _RECORD)
        made.chmod(0o755)
        made.rename(entry)
        return bool(record["files"])
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _flush(file: Path) -> None:
    """Wait until a file is on the disk: after a power cut it could else have its size without its contents."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _tidy(home: Path) -> None:
    """Delete entries that nobody has loaded for long: of other versions, or of bundles that are gone."""
    for record in home.glob(f"*/{_RECORD}"):
        with contextlib.suppress(OSError):  # another process does the same
            if record.stat().st_mtime < time.time() - _KEPT_S:
                shutil.rmtree(record.parent)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Tell whether this process is the only one to make an entry, when it is or when waiting has taken too long.

    The system lets go of the lock when its holder dies.
    """
    if sys.platform == "win32":  # has no such locks, and a file that is mapped can't be replaced there
        yield False
        return
    import fcntl

    until = time.monotonic() + _WAIT_S
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                mine = True
            except BlockingIOError:
                mine = False
            if mine or time.monotonic() > until:
                break
            time.sleep(0.05)
        yield mine
