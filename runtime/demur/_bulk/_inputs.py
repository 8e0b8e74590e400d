"""What the command line names: files, folders, globs, folders of Hugging Face `datasets`, standard input."""

import glob
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur._bulk import _formats
from demur._bulk._formats import Format
from demur.errors import DataError

STDIN = "-"
# What an unfinished output and its journal are called, after the output's own name.
PARTIAL, JOURNAL = ".demur-partial", ".demur-journal"


@dataclass(frozen=True)
class Input:
    """One file of rows.

    Attributes:
        name: What it is called in messages.
        path: Where it lies; None for standard input.
        format: What it holds.
    """

    name: str
    path: Path | None
    format: Format

    def facts(self) -> dict[str, Any]:
        """Return what tells whether the file has changed: where it lies, its bytes and its time."""
        if self.path is None:
            return {"path": STDIN}
        try:
            found = self.path.stat()
        except OSError as error:
            return {"path": str(self.path.absolute()), "missing": error.strerror}
        return {"path": str(self.path.absolute()), "bytes": found.st_size, "time": found.st_mtime_ns}


def find(names: Sequence[str], format: Format | None = None) -> list[Input]:
    """Return the files that the names on a command line stand for, in their order, each once.

    A folder stands for the files in it whose ending is known, or for the data of a saved data set; a glob for what
    it matches, `**` for folders within folders, both sorted by name.

    Args:
        names: Files, folders, globs, or `-` for standard input.
        format: What all of them hold; by default that is found out for each, and standard input is JSONL.

    Raises:
        DataError: A name stands for nothing.
    """
    found: dict[str, Input] = {}
    for name in names:
        for one in _expand(name, format):
            found.setdefault(STDIN if one.path is None else os.path.realpath(one.path), one)
    return list(found.values())


def _expand(name: str, format: Format | None) -> Iterator[Input]:
    if name == STDIN:
        if format is not None and format.name in _formats.COLUMNAR:
            raise DataError(f"{format} can't be read from standard input; give a file")
        yield Input("standard input", None, format or Format("jsonl"))
        return
    path = Path(name)
    if path.is_dir():
        yield from _folder(path, format)
    elif path.exists() or not glob.has_magic(name):
        yield _file(path, format)
    else:
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
        files = [match for match in matches if match.is_file() and not _ours(match)]
        if not files:
            raise DataError(f"{name}: no file matches")
        for match in files:
            yield _file(match, format)


def _file(path: Path, format: Format | None) -> Input:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if format is None:
        try:
            format = _formats.by_content(path) if path.is_file() else _formats.by_ending(path.name) or Format("jsonl")
        except OSError:  # it is said when its turn has come to be read
            format = _formats.by_ending(path.name) or Format("jsonl")
    return Input(str(path), path, format)


def _folder(folder: Path, format: Format | None) -> Iterator[Input]:
    if (folder / "state.json").is_file():
        yield from _data_set(folder)
    elif (folder / "dataset_dict.json").is_file():
        for split in _strings(folder / "dataset_dict.json", "splits"):
            yield from _data_set(folder / split)
    else:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and _formats.by_ending(path.name)]
        files = [path for path in files if not path.name.startswith((".", "_")) and not _ours(path)]
        if not files:
            raise DataError(
                f"{folder}: this directory has no files that end in {', '.join(_formats.FORMATS)} in it; for "
                f"folders within folders give a glob such as '{folder}/**/*.parquet'"
            )
        for path in files:
            yield _file(path, format)


def _data_set(folder: Path) -> Iterator[Input]:
    """The files of a data set that `datasets.Dataset.save_to_disk` wrote: Arrow streams named in `state.json`."""
    for entry in _strings(folder / "state.json", "_data_files"):
        path = folder / entry
        yield Input(str(path), path, Format("arrow"))


def _strings(path: Path, key: str) -> list[str]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = [entry["filename"] if isinstance(entry, dict) else entry for entry in raw[key]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: can't be read as a saved data set's: {error!r}") from error
    for name in found:
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"{path}: key {key!r} names {name!r}, expected a file or folder beside it")
    return found


def _ours(path: Path) -> bool:
    return path.name.endswith((PARTIAL, JOURNAL))
