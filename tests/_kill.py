"""Kills `demur score` again and again, goes on with it, and compares what comes out with an uninterrupted run.

A program of its own, which forks before it has threads: `python _kill.py KIND KILLS SEED FOLDER [ROWS]`, where the
kind is an output's ending such as `jsonl.gz`. Kills come at a random time, at a random text that is judged, or when the
process is about to open, rename or remove a file for the n-th time. Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from _bulk import as_csv, do, jsonl, rows

from demur._bulk import _journal
from demur.testing import fake_classifier

# Events of Python's audit hooks where a death might leave something half done.
_EVENTS = ("open", "os.rename", "os.remove", "os.truncate")


def trial(kind: str, kills: int, seed: int, folder: Path, n: int) -> dict[str, Any]:
    """Run one job to its end with so many deaths on the way; return what was counted."""
    source = _source(kind, folder, n)
    out, expected = folder / f"out.{kind}", folder / f"expected.{kind}"
    seconds = time.monotonic()
    _in_child(lambda: _work(source, expected, False))
    seconds = time.monotonic() - seconds
    chance, died, resumed = random.Random(seed), 0, 0
    while died < kills:
        resumed += _known(out) > 0
        at = {
            "time": chance.uniform(0, seconds),
            "text": chance.randrange(1, max(2, n // kills)),
            "event": chance.randrange(1, 40),
        }
        kill = chance.choice(list(at))
        work = partial(_work, source, out, True, **({} if kill == "time" else {kill: at[kill]}))
        status = _in_child(work, at["time"] if kill == "time" else None)
        died += os.WIFSIGNALED(status)
        if not os.WIFSIGNALED(status):  # it came to its end before it was killed
            _check(out, expected)
            out.unlink()
    _in_child(lambda: _work(source, out, True))
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith("out."))
    return {
        "kind": kind,
        "rows": n,
        "kills": died,
        "resumed": resumed,
        "same": _check(out, expected),
        "left": left,
    }


def _source(kind: str, folder: Path, n: int) -> Path:
    source = folder / f"in.{kind.partition('.')[0]}"
    if kind == "parquet":
        import pyarrow as pa

        pq.write_table(pa.Table.from_pylist(rows(n)), source, row_group_size=700)
    else:
        source.write_bytes(as_csv(rows(n)) if kind.startswith("csv") else jsonl(rows(n)))
    return source


def _work(source: Path, out: Path, resume: bool, *, event: int = 0, text: int = 0) -> None:
    events, texts = _Fuse(event), _Fuse(text)
    sys.addaudithook(lambda name, arguments: events.burn() if name in _EVENTS else None)

    def score(text: str) -> float:
        texts.burn()
        return 0.99 if "sorry" in text else 0.01

    do(fake_classifier(score), source, out, workers=2, resume=resume)


class _Fuse:
    """Kills this process when it has burnt so many times; never, if that is 0."""

    def __init__(self, length: int) -> None:
        self._left = length

    def burn(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def _known(out: Path) -> int:
    """How many outcomes the journal of an unfinished output has."""
    path = out.with_name(out.name + ".demur-journal")
    if not path.exists():
        return 0
    with path.open("rb", buffering=0) as stream:
        return sum(len(record.get("outcomes", ())) for record, _ in _journal._records(stream))


def _in_child(work: Callable[[], None], kill_after: float | None = None) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), f"a run failed with status {status}"
    return status


def _check(out: Path, expected: Path) -> bool:
    if out.suffix == ".parquet":
        assert pq.read_table(out).equals(pq.read_table(expected)), f"{out} is another table"
    else:
        assert out.read_bytes() == expected.read_bytes(), f"{out} differs"
    return out.read_bytes() == expected.read_bytes()


if __name__ == "__main__":
    kind, kills, seed, folder, n = sys.argv[1:]
    print(json.dumps(trial(kind, int(kills), int(seed), Path(folder), int(n))))
