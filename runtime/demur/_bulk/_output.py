"""A file that is written beside its place and moved there when it is whole."""

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from demur._bulk import _packing
from demur._bulk._formats import Format
from demur._bulk._inputs import JOURNAL, PARTIAL
from demur.errors import DataError

_BUFFER = 1 << 18


class Place:
    """Where an output goes: a file, standard output, or something else that can be written, as a pipe.

    Args:
        name: The file, or `-`.

    Attributes:
        name: What it is called in messages.
        moved: Whether it is a regular file, which is moved into its place when it is whole.
        final: The file's place, links followed.
    """

    def __init__(self, name: str) -> None:
        self.name = "standard output" if name == "-" else name
        self.final = None if name == "-" else Path(os.path.realpath(name))
        self.moved = self.final is not None and (not self.final.exists() or self.final.is_file())

    @property
    def partial(self) -> Path:
        """Where the file lies until it is whole."""
        return self._beside(PARTIAL)

    @property
    def journal(self) -> Path:
        """Where the journal of the output lies."""
        return self._beside(JOURNAL)

    def check(self) -> None:
        """Raise DataError if nothing can be written there."""
        if self.final is not None and (self.final.is_dir() or not self.final.parent.is_dir()):
            kind = "is a folder" if self.final.is_dir() else "there is no such folder"
            raise DataError(f"{self.name}: {kind}, expected the path of a file to write")

    def _beside(self, ending: str) -> Path:
        if self.final is None:
            raise ValueError(f"{self.name} has no place")
        return self.final.with_name(self.final.name + ending)


class Output:
    """An open output.

    Args:
        place: Where it goes.
        format: How it is packed.

    Attributes:
        stream: Gets the bytes.
    """

    def __init__(self, place: Place, format: Format) -> None:
        self.place = place
        self._raw = self._opened()
        self.stream = _packing.packed(self._raw, format.packing)

    def flush(self) -> None:
        """Hand on what was written so far, unless it is packed: when to flush would change the packed bytes."""
        self._raw.flush()

    def finish(self) -> None:
        """Write what ends the file, and wait until it is on the disk."""
        if self.stream is not self._raw:
            self.stream.close()
        self._raw.flush()
        if self.place.moved:
            os.fsync(self._raw.fileno())
        if self.place.final is not None:
            self._raw.close()

    def move(self) -> None:
        """Move a finished file into its place; one that is already there gives its permissions."""
        final = self.place.final
        if final is None or not self.place.moved:
            return
        with suppress(OSError):
            self.place.partial.chmod(final.stat().st_mode & 0o7777)
        self.place.partial.replace(final)
        _sync_folder(final.parent)

    def abandon(self) -> None:
        """Close the file as it is, unfinished; nothing, if it was finished."""
        faults = (DataError, OSError, ValueError)
        if self.stream is not self._raw:
            with suppress(*faults):
                self.stream.close()
        with suppress(*faults):
            self._raw.flush()
        if self.place.final is not None:
            with suppress(*faults):
                self._raw.close()

    def _opened(self) -> IO[bytes]:
        if self.place.final is None:
            return sys.stdout.buffer
        path = self.place.partial if self.place.moved else self.place.final
        try:
            return io.BufferedWriter(_Named(path, "w"), _BUFFER)
        except OSError as error:
            raise DataError(f"{self.place.name}: {error.strerror}") from error


class _Named(io.FileIO):
    """A file whose faults name it."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            raise
        except OSError as error:
            raise DataError(f"{os.fsdecode(self.name)}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
