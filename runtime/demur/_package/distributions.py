"""What pip installed into a folder."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from demur.errors import PackageError


@dataclass(frozen=True)
class Distribution:
    """One of them.

    Attributes:
        files: Its files, relative to the folder, by its own list.
        needs: Normalised names of what it requires, also by extras and on other platforms.
    """

    name: str
    version: str
    files: tuple[str, ...]
    needs: frozenset[str]

    def size(self, folder: Path) -> int:
        """Return the bytes of those of its files that are there."""
        return sum(path.stat().st_size for path in (folder / file for file in self.files) if path.is_file())

    def delete(self, folder: Path, files: Iterable[str]) -> None:
        """Delete some of its files, and the folders that this leaves empty."""
        for path in (folder / file for file in files):
            path.unlink(missing_ok=True)
            for outer in path.parents:
                if outer == folder or not outer.is_dir() or any(outer.iterdir()):
                    break
                outer.rmdir()


def normalised(name: str) -> str:
    """Return a distribution's name as names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirement: str) -> str:
    """Return the normalised name that a requirement such as `numpy>=1.26` begins with (PEP 508)."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    if found is None:
        raise PackageError(f"{requirement!r} is no requirement, expected a name and which versions of it will do")
    return normalised(found[0])


def read(folder: Path) -> dict[str, Distribution]:
    """Return what is installed in `folder` by normalised name, in the names' order.

    Raises:
        PackageError: A distribution has no list of its files.
    """
    found = {}
    for one in metadata.distributions(path=[str(folder)]):
        if one.files is None:
            raise PackageError(f"{folder}: {one.name} {one.version} has no list of its files (RECORD)")
        files = tuple(_inside(str(file)) for file in one.files)
        needs = frozenset(required(line) for line in one.requires or [])
        found[normalised(one.name)] = Distribution(one.name, one.version, files, needs)
    return dict(sorted(found.items()))


def versions(folder: Path) -> dict[str, str]:
    """Return the versions of what is installed in `folder` by name, in the names' order."""
    return dict(sorted((one.name, one.version) for one in metadata.distributions(path=[str(folder)])))


def _inside(file: str) -> str:
    # subtle: pip lists a command as it lies beside a whole Python, and puts it into `bin` of the folder.
    return file[file.index("bin/") :] if file.startswith("../") and "bin/" in file else file
