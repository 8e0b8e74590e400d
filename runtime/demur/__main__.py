"""`demur` as a program: `python -m demur`, and the command that pip installs."""

import sys

from demur import _machine


def main() -> int:
    """Run `demur` and return its exit status."""
    _machine.no_blas_threads()
    from demur.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
