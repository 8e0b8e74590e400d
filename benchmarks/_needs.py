"""What a benchmark needs and this machine may lack: a script that lacks it says so, and the others go on."""

import importlib.util
import sys
from typing import NoReturn

# The exit status of a script that could not run for want of something: 77, as "skipped" in GNU Automake's manual,
# section "Scripts-based Testsuites".
ABSENT = 77
# Names the folder that results, plots and page are written to in place of this one.
OUT = "DEMUR_BENCHMARKS_OUT"


def absent(reason: str) -> NoReturn:
    """Say what is wanting and exit with `ABSENT`."""
    print(f"error: {reason}", file=sys.stderr)
    raise SystemExit(ABSENT)


def require(*modules: str) -> None:
    """Exit with the line that installs what is missing, if one of `modules` is."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        absent(f"this benchmark needs {', '.join(missing)}: pip install -e '.[bench]'")
