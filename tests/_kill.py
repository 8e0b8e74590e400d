"""Kills `demur score` again and again, goes on with it, and compares what comes out with an uninterrupted run.

A program of its own, which forks before it has threads: `python _kill.py KIND KILLS SEED FOLDER [ROWS]`, where the
kind is an output's ending such as `jsonl.gz`. Kills come at a random time, at a random text that is judged, when the
process is about to open, rename, truncate or remove a file for the n-th time, around the moves and removals at the end,
or when the journal has grown past a random length, which is while it is written or waits for the disk; of some of these
records a random part is then cut off, as where only a part has reached the disk. Prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
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
# The last of them: before the move, behind it where the folder is opened, before and behind the journal's removal.
_AT_THE_END = 4
_WAYS = ("time", "text", "event", "end", "journal", "torn")
_POLL = 0.0002


class _Fuse:
    """Kills this process when it has burnt so many times; never, if that is 0."""

    def __init__(self) -> None:
        self.left = 0

    def burn(self) -> None:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)


_TEXTS, _EVERY_EVENT, _LAST_EVENTS = _Fuse(), _Fuse(), _Fuse()


def _score(text: str) -> float:
    _TEXTS.burn()
    return 0.99 if "sorry" in text else 0.01


# Made once, before the forks, as its tokenizer takes longer to read than many rows to judge.
_MODEL = fake_classifier(_score)


def trial(kind: str, kills: int, seed: int, folder: Path, n: int) -> dict[str, Any]:
    """Run one job to its end with so many deaths on the way; return what was counted."""
    source = _source(kind, folder, n)
    out, expected = folder / f"out.{kind}", folder / f"expected.{kind}"
    began = time.monotonic()
    _in_child(lambda: _work(source, expected, False))
    seconds = time.monotonic() - began
    chance, died, resumed, whole = random.Random(seed), Counter[str](), 0, 0
    while died.total() < kills:
        resumed += _known(out) > 0
        way = chance.choice(_WAYS)
        work = partial(_work, source, out, True, chance.choice([1, 2]), **_fuses(way, chance, n // kills))
        if _in_child(work, _killer(way, chance, seconds, out)):
            died[way] += 1
            if way == "torn":
                _tear(_journal_of(out), chance)
        else:  # it came to its end before it was killed
            whole += 1
            _check(out, expected)
            out.unlink()
    _in_child(lambda: _work(source, out, True))
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith("out."))
    return {
        "kind": kind,
        "rows": n,
        "kills": died.total(),
        "ways": dict(sorted(died.items())),
        "resumed": resumed,
        "ends": whole + 1,
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


def _work(source: Path, out: Path, resume: bool, workers: int = 2, text: int = 0, event: int = 0, end: int = 0) -> None:
    _TEXTS.left, _EVERY_EVENT.left, _LAST_EVENTS.left = text, event, end
    ending = False

    def see(name: str, arguments: object) -> None:
        nonlocal ending
        if name in _EVENTS:
            ending = ending or name == "os.rename"
            _EVERY_EVENT.burn()
            if ending:
                _LAST_EVENTS.burn()

    sys.addaudithook(see)
    do(_MODEL, source, out, workers=workers, resume=resume)
    _LAST_EVENTS.burn()


def _fuses(way: str, chance: random.Random, texts: int) -> dict[str, int]:
    lengths = {
        "text": chance.randrange(1, max(2, texts)),
        "event": chance.randrange(1, 40),
        "end": chance.randint(1, _AT_THE_END),
    }
    return {way: lengths[way]} if way in lengths else {}


def _killer(way: str, chance: random.Random, seconds: float, out: Path) -> Callable[[], bool] | None:
    """Return what says that it is time to kill; None where the process does it itself."""
    if way == "time":
        when = time.monotonic() + chance.uniform(0, seconds)
        return lambda: time.monotonic() >= when
    if way in ("journal", "torn"):
        journal = _journal_of(out)
        enough = _size(journal) + chance.randrange(1, 3000)
        return lambda: _size(journal) >= enough
    return None


def _journal_of(out: Path) -> Path:
    return out.with_name(out.name + ".demur-journal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _tear(journal: Path, chance: random.Random) -> None:
    """Cut a random part of the last record off, as a death of the machine may leave it."""
    if not journal.exists():
        return
    with journal.open("rb", buffering=0) as stream:
        ends = [0, *(end for _, end in _journal._records(stream))]
    if len(ends) > 2:
        os.truncate(journal, chance.randrange(ends[-2], ends[-1]))


def _known(out: Path) -> int:
    """How many outcomes the journal of an unfinished output has."""
    path = _journal_of(out)
    if not path.exists():
        return 0
    with path.open("rb", buffering=0) as stream:
        return sum(len(record.get("outcomes", ())) for record, _ in _journal._records(stream))


def _in_child(work: Callable[[], None], killer: Callable[[], bool] | None = None) -> bool:
    """Do it in a process of its own, which is killed when `killer` says so; return whether it was killed."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    ended = 0
    while killer is not None and not killer():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(_POLL)
    if not ended:
        if killer is not None:
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), f"a run failed with status {status}"
    return os.WIFSIGNALED(status)


def _check(out: Path, expected: Path) -> bool:
    if out.suffix == ".parquet":
        assert pq.read_table(out).equals(pq.read_table(expected)), f"{out} is another table"
    else:
        assert out.read_bytes() == expected.read_bytes(), f"{out} differs"
    return out.read_bytes() == expected.read_bytes()


if __name__ == "__main__":
    kind, kills, seed, folder, n = sys.argv[1:]
    print(json.dumps(trial(kind, int(kills), int(seed), Path(folder), int(n))))
