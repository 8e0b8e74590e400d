"""Run the benchmarks: `python -m benchmarks --help`."""

import sys
from pathlib import Path

# subtle: the scripts beside this one import each other by bare names, as they do when each is run by itself.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _runner import main

if __name__ == "__main__":
    raise SystemExit(main())
