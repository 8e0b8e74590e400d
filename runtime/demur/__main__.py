"""`demur` as a program: `python -m demur`, and the command that pip installs."""

import gc
import sys

from demur import _machine


def main() -> int:
    """Run `demur` and return its exit status."""
    _machine.no_blas_threads()
    # subtle: what is imported stays. Looking for garbage among it takes 6 ms.
    gc.disable()
    from demur.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
