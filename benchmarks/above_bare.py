"""How much longer than its own bare session does demur take? A line for each length, which `.ci/run` shows.

    python benchmarks/above_bare.py [--lengths N ...] [--seconds S]

The two take turns on the same texts as in `bench_latency.py`, for a few seconds. Nothing is judged or written: what a
machine is busy with besides tells on figures so short, if less on ratios than on milliseconds.
"""

import argparse
from collections.abc import Iterator

import numpy as np

import _peers
import _texts
import demur
from _latency_page import Samples, to_bare
from _peers import BARE, DEMUR
from bench_latency import sample
from demur import _bundle

LENGTHS = (16, 64, 256, 512)
SECONDS = 10.0
AT_TOKENS = 64  # where milliseconds are told
# Different texts of each length: an odd number, so that none meets the same neighbours twice.
TEXTS = 21


def lines(samples: Samples) -> Iterator[str]:
    """Yield a line for each length: demur's time over the bare session's, and at one length milliseconds."""
    for tokens, ratio in to_bare(samples).items():
        took = f", {np.median(samples[DEMUR][tokens]):.2f} ms" if tokens == AT_TOKENS else ""
        rounds = len(samples[DEMUR][tokens])
        yield f"{tokens} tokens: demur takes {ratio:.3f} times as long as its bare session{took} (median of {rounds})"


def main() -> None:
    """Measure, and print the lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="N", help="tokens")
    parser.add_argument("--seconds", type=float, default=SECONDS, metavar="S", help="to take (default: %(default)g)")
    options = parser.parse_args()
    bundle = _bundle.read(_bundle.find(None))
    rows = _texts.own_rows()
    try:
        texts = {tokens: _texts.exact(bundle, rows, tokens, TEXTS) for tokens in sorted(set(options.lengths))}
    except ValueError as error:
        raise SystemExit(f"error: --lengths: {error}") from error
    every = [text for of_length in texts.values() for text in of_length]
    model = demur.load(bundle.folder, threads=1)
    judges = {DEMUR: model.check_text, BARE: _peers.bare(bundle, 1, every)}
    for line in lines(sample(judges, texts, None, options.seconds, least=1)):
        print(line)


if __name__ == "__main__":
    main()
