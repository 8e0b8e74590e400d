"""`demur` as a program: `python -m demur`, and the command that pip installs."""

import os
import sys


def main() -> int:
    """Run `demur` and return its exit status."""
    # subtle: set before numpy is imported. Its BLAS, of which demur uses nothing, would start a thread for each core,
    # which spin while the rest is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from demur.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
