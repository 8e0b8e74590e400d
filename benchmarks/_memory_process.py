"""A process that loads demur and judges texts of random lengths, and nothing else, so that its memory is demur's.

    python benchmarks/_memory_process.py BUNDLE TEXTS SEED

A line of JSON when it has loaded and judged its first text, one for each sample of its memory, and one at the end; then
it waits until its input is closed.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from demur import _bundle, _machine
from demur._load import load
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


def memory(*keys: str) -> list[int]:
    """Return some of a process's own `/proc/self/status`, in bytes."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(found[key].split()[0]) * 1024 for key in keys]


def timed(made: Callable[[], object]) -> float:
    """Return the milliseconds that a call takes."""
    start = time.perf_counter()
    made()
    return round(1000 * (time.perf_counter() - start), 3)


def main() -> None:
    """Load, judge, and tell of the memory on the way."""
    folder, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    bundle = _bundle.read(folder)
    bare = memory("VmRSS")[0]
    created: list[OnnxSession] = []
    session_ms = timed(lambda: created.append(OnnxSession(bundle, "cpu", 1)))
    created.clear()
    again_ms = timed(lambda: created.append(OnnxSession(bundle, "cpu", 1)))
    created.clear()
    model = load(folder, threads=1)
    model.check("I'm sorry, but I can't help with that.")
    print(json.dumps({"imported": bare, "session_ms": session_ms, "session_again_ms": again_ms}), flush=True)
    if count:
        # What the longest text needs is there from the start, so that whatever comes on top has grown.
        lengths = [model.check("word " * 2 * bundle.max_tokens).tokens]
        every = max(1, count // SAMPLES)
        print(json.dumps({"texts": 0, "rss": memory("VmRSS")[0]}), flush=True)
        for i, text in enumerate(texts(count, seed), 1):
            lengths.append(model.check(text).tokens)
            if i % every == 0:
                print(json.dumps({"texts": i, "rss": memory("VmRSS")[0]}), flush=True)
        ordered = sorted(lengths)
        print(json.dumps({"tokens": [ordered[0], ordered[len(ordered) // 2], ordered[-1]]}), flush=True)
    rss, peak = memory("VmRSS", "VmHWM")
    print(json.dumps({"rss": rss, "peak": peak, "cores": _machine.cores()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
