"""`demur` as a program: `python -m demur`, and the command that pip installs."""

import gc
import sys

from demur import _machine


def main() -> int:
    """Run `demur` and return its exit status."""
    _machine.no_blas_threads()
    if sys.argv[1:2] == ["check"]:
        # subtle: what is imported stays, and one conversation leaves little behind. Looking for garbage takes 6 ms.
        gc.disable()
    from demur.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
