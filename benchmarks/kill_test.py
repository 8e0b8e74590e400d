"""Does a run that is killed lose or double a row? Many SIGKILLs over each kind of output, then a comparison.

    python benchmarks/kill_test.py [--kills 100] [--rows 3000] [--seed 1] [--kinds jsonl jsonl.gz jsonl.zst csv parquet]

Each run is killed so many times, and gone on with each time, by one worker or two: at random times, at random texts, at
files that it opens, around the moves at its end, and while it writes its journal, of which a part is cut off then. What
comes out is compared with an uninterrupted run's: byte for byte, and Parquet table for table too. Scores are fake; the
trial itself is `tests/_kill.py`. Prints one line of JSON for each kind: `ways` counts the kills of each sort, `resumed`
those behind which outcomes were taken from the journal, `ends` how often an output became whole, each time the same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def main() -> int:
    """Try each kind; return 1 if one of them lost or doubled something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet"])
    options = parser.parse_args()
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    status = 0
    for kind in options.kinds:
        with tempfile.TemporaryDirectory() as folder:
            numbers = [str(options.kills), str(options.seed), folder, str(options.rows)]
            done = subprocess.run(
                [sys.executable, TESTS / "_kill.py", kind, *numbers],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
                check=False,
            )
            status |= done.returncode != 0
    return status


if __name__ == "__main__":
    sys.exit(main())
