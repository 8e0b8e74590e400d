"""A process that runs demur and nothing else, so that its memory is demur's; `bench_memory.py` starts it.

    python benchmarks/_memory_process.py BUNDLE [TEXTS SEED]

With a number of texts it judges so many of random lengths, without it times how long loading takes. It prints lines of
JSON.
"""

import importlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from demur import _bundle, load
from demur._session import OnnxSession

SAMPLES = 200
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SYLLABLES = ("ta", "ri", "no", "shel", "an", "ver", "mo", "qui")
# Words of the long texts; two thirds of the texts' words are common ones of one to three tokens, the others are new.
_LONG, _SHORT, _LONG_SHARE = (60, 900), (1, 24), 0.02


def texts(count: int, seed: int) -> Iterator[str]:
    """Yield texts of many lengths, most of them short, with words that no text before had in each."""
    draw = random.Random(seed)
    common = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 2))) for _ in range(500)]
    for _ in range(count):
        least, most = _LONG if draw.random() < _LONG_SHARE else _SHORT
        yield " ".join(
            draw.choice(common) if draw.random() < 2 / 3 else "".join(draw.choices(_LETTERS, k=6))
            for _ in range(draw.randint(least, most))
        )


def memory() -> tuple[int, int]:
    """Return what this process has in memory, and the most that it ever had, in bytes (proc(5))."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, most = (int(found[key].split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, most


def say(**facts: object) -> None:
    """Print a line of JSON at once."""
    print(json.dumps(facts), flush=True)


def load_twice(folder: Path) -> None:
    """Tell how long it takes to create the session: for the first time in the process, and again."""
    bundle = _bundle.read(folder)
    took = []
    for _ in range(2):
        start = time.perf_counter()
        OnnxSession(bundle, "cpu", 1)
        took.append(round(1000 * (time.perf_counter() - start), 3))
    say(session_ms=took[0], again_ms=took[1])


def judge(folder: Path, count: int, seed: int) -> None:
    """Load, judge, and tell of the memory on the way; then wait until the input is closed."""
    importlib.import_module("demur._assemble")  # all that loading would import
    imported, _ = memory()
    model = load(folder, threads=1)
    model.check("I'm sorry, but I can't help with that.")
    first, _ = memory()
    # What the longest text needs is there from the start, so that whatever comes on top has grown.
    lengths = [model.check("word " * 2 * model.max_tokens).tokens]
    say(imported=imported, first=first, longest=memory()[0])
    every = max(1, count // SAMPLES)
    for i, text in enumerate(texts(count, seed), 1):
        lengths.append(model.check(text).tokens)
        if i % every == 0:
            say(texts=i, rss=memory()[0])
    lengths.sort()
    say(tokens=[lengths[len(lengths) * part // 100] for part in (5, 50, 95)], peak=memory()[1])
    sys.stdin.read()


def main() -> None:
    """Do what the command line says."""
    folder, *rest = sys.argv[1:]
    if rest:
        judge(Path(folder), int(rest[0]), int(rest[1]))
    else:
        load_twice(Path(folder))


if __name__ == "__main__":
    main()
