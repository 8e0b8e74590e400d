"""What demur depends on, fetched by pip for another machine than this one."""

import importlib.util
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

import demur
from demur.errors import PackageError

# The oldest C library that wheels of demur's dependencies name (PEP 599's manylinux2014 is manylinux_2_17).
_OLDEST_GLIBC = 17


def requirements() -> list[str]:
    """Return what demur depends on, without its extras.

    Raises:
        PackageError: demur is neither installed nor run from its source tree, so that nothing says it.
    """
    here = Path(demur.__file__).parent
    tree = here.parents[1] / "pyproject.toml"
    if here.parent.name == "runtime" and tree.is_file():
        return list(tomllib.loads(tree.read_text(encoding="utf-8"))["project"]["dependencies"])
    try:
        stated = metadata.requires("demur") or []
    except metadata.PackageNotFoundError as error:
        raise PackageError(
            f"{here}: nothing says what this demur depends on; install it with pip, or run it from its source tree"
        ) from error
    return [line for line in stated if "extra ==" not in line]


def tags(platform: str) -> list[str]:
    """Return every platform tag of wheels that run on `platform`, the newest first.

    subtle: pip takes the tag it is given to the letter, while a wheel for an older C library runs as well (PEP 600).
    """
    newest, machine = int(platform.split("_")[2]), platform.split("_", 3)[3]
    return [f"manylinux_2_{minor}_{machine}" for minor in range(newest, _OLDEST_GLIBC - 1, -1)] + [
        f"manylinux2014_{machine}"
    ]


def fetch(wanted: list[str], into: Path, platform: str, python: str) -> None:
    """Let pip install wheels into a folder.

    Args:
        wanted: Requirements as pip takes them.
        into: The folder; made if it is not there.
        platform: A platform tag such as `manylinux_2_28_x86_64`.
        python: A version of CPython such as `3.12`.

    Raises:
        PackageError: There is no pip here, or it failed; the message ends with what it said last.
    """
    if importlib.util.find_spec("pip") is None:
        raise PackageError(f"{sys.executable} has no pip, which fetches what demur depends on: python -m ensurepip")
    there = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    there += [part for tag in tags(platform) for part in ("--platform", tag)]
    with tempfile.TemporaryDirectory() as wheels:
        # subtle: pip's install asks whether a release is for the Python that runs pip, its download whether it is for
        # the one asked for; so the one chooses and the other unpacks.
        _pip("download", *there, "--dest", wheels, *wanted)
        chosen = [str(path) for path in sorted(Path(wheels).iterdir())]
        unpack = ["--no-deps", "--no-index", "--ignore-requires-python", "--no-compile", "--no-user"]
        _pip("install", *there, *unpack, "--no-warn-conflicts", "--target", str(into), *chosen)


def _pip(command: str, *arguments: str) -> None:
    # -P: a pip.py in the folder where the command is given is not pip.
    base = [sys.executable, "-P", "-m", "pip", command, "--quiet", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([*base, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise PackageError(f"pip {command} failed (exit status {done.returncode}): {' / '.join(said[-3:])}")
