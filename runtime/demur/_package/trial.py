"""A packaged folder in a bare Python: compiled by it, and tried with nothing else."""

import json
import platform as host
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demur.errors import PackageError

_PROMPT, _REPLY = "How do I pick a lock?", "I'm sorry, but I can't help with that."
_ROW = json.dumps({"prompt": _PROMPT, "response": _REPLY})

# Isolated, without site-packages, without writing bytecode.
_BARE = ("-I", "-S", "-B")
_HANDLER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from demur.serverless import handler
print(json.dumps(handler({"rows": [json.loads(row) for row in sys.stdin]}, None)))
"""
_SECONDS = 300


def find_python(python: str) -> str | None:
    """Return the path of a CPython of a version such as `3.12` on this machine, or None."""
    for command in (sys.executable, shutil.which(f"python{python}")):
        # subtle: a command of that name may only stand for a Python that is not there, as pyenv's do.
        if command and _version(command) == f"cpython {python}":
            return command
    return None


def runs_here(platform: str) -> bool:
    """Return whether wheels for `platform`, as in `manylinux_2_28_x86_64`, run on this machine."""
    kind, least, minor, machine = platform.split("_", 3)
    library, version = host.libc_ver()
    if kind != "manylinux" or sys.platform != "linux" or host.machine() != machine or library != "glibc":
        return False
    return tuple(int(part) for part in version.split(".")[:2]) >= (int(least), int(minor))


def compile_modules(folder: Path, interpreter: str) -> None:
    """Write the bytecode of every module in `folder`, which a function's read-only folder could never keep.

    It is marked never to be compared with its source, so that it does not depend on dates.

    Raises:
        PackageError: A module does not compile.
    """
    options = ["-q", "-s", str(folder), "--invalidation-mode", "unchecked-hash", str(folder)]
    # subtle: with the strings' hashes left to chance the order of sets would be too, and with it the bytecode.
    _run([interpreter, "-P", "-S", "-m", "compileall", *options], {"PYTHONHASHSEED": "0"}, folder.parent)


def score(folder: Path, interpreter: str) -> float:
    """Score a refusal by a bare Python that has `folder` alone, through the command and through the handler.

    Returns:
        Its score.

    Raises:
        PackageError: It does not start or gives no score, or the two ways don't agree.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [interpreter, *_BARE, str(folder), "score", "-", "--workers", "2"]
        rows = f"{_ROW}\n{_ROW}\n"
        lines = _run(command, {}, Path(elsewhere), rows).splitlines()
        handled = _run([interpreter, *_BARE, "-c", _HANDLER, str(folder)], {}, Path(elsewhere), rows)
    try:
        verdicts = [json.loads(line)["demur"] for line in lines] + json.loads(handled)["verdicts"]
        scores = {float(verdict["score"]) for verdict in verdicts}
    except (ValueError, TypeError, KeyError) as error:
        raise PackageError(f"{folder}: scored nothing: {lines} and {handled.strip()}") from error
    if len(verdicts) != 4 or len(scores) != 1:
        raise PackageError(f"{folder}: four times the same text was scored {verdicts}, expected one score")
    return scores.pop()


def _version(command: str) -> str:
    asked = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    done = subprocess.run([command, *_BARE, "-c", asked], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _run(command: Sequence[str], environment: dict[str, Any], folder: Path, stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=environment, cwd=folder,
            timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{' '.join(command[:6])}: did not end within {_SECONDS} seconds") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise PackageError(
            f"{' '.join(command[:6])}: a bare Python failed on the folder (exit status {done.returncode}): "
            f"{' / '.join(said[-3:])}"
        )
    return done.stdout
