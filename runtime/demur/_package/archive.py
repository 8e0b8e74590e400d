"""A folder as a zip that comes out the same every time."""

import zipfile
from pathlib import Path

from demur._package.elf import is_library

# The earliest date that a zip can state.
_DATE = (1980, 1, 1, 0, 0, 0)
_READ, _RUN = 0o100644, 0o100755


def write(folder: Path, target: Path) -> None:
    """Write what is in `folder` into a zip: sorted by name, without dates, readable by everyone.

    Args:
        folder: Its files go in under their paths inside it.
        target: The zip; replaced if it is there.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files(folder).items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            # subtle: the upper half holds Unix's mode; without it a function may find files that it can't read.
            entry.external_attr = (_RUN if is_library(path) else _READ) << 16
            entry.create_system = 3
            archive.writestr(entry, path.read_bytes())


def files(folder: Path) -> dict[str, Path]:
    """Return the files in `folder` by their paths inside it, in the order of these."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(found.items()))


def size(folder: Path) -> int:
    """Return the bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in files(folder).values())
