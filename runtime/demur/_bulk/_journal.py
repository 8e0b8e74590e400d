"""What has been found out so far, kept where a killed run can go on from.

The journal lies beside the output. It holds what the run was asked for, and then the outcomes of rows in their order,
a few hundred to a record. A resumed run reads its inputs from the beginning, takes the outcomes of the first rows from
here and computes the others, so that its output is made as an uninterrupted run's is, whatever the format.

A record is its payload's length and CRC-32, both little-endian uint32, and the payload: JSON packed with zlib. A
record that a death cut short has no valid check sum; it and what follows it is cut off.
"""

import fcntl
import json
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from demur._bulk._outcome import Outcome, unpack
from demur.errors import DataError, ResumeError

_FRAME = struct.Struct("<II")
# A record is written when it has so many rows, or so many seconds after the last one.
_ROWS, _SECONDS = 512, 5.0
_LONGEST = 1 << 28


class Stored(NamedTuple):
    """The outcome of a row, and the check sum of what the row said."""

    outcome: Outcome
    mark: int


class Journal:
    """The journal of one output. Made by `begin` or `resume`.

    Args:
        path: Where it lies.
        stream: The open file, behind its last whole record.
        rows: How many outcomes it holds.
    """

    def __init__(self, path: Path, stream: FileIO, rows: int) -> None:
        self.path, self.rows = path, rows
        self._stream, self._held, self._marks = stream, list[Any](), list[int]()
        self._written = time.monotonic()

    def stored(self) -> Iterator[Stored]:
        """Yield the outcomes that were found before, in the rows' order."""
        with self.path.open("rb", buffering=0) as stream:
            for i, (payload, _) in enumerate(_records(stream)):
                if i:
                    for packed, mark in zip(payload["outcomes"], payload["marks"], strict=True):
                        yield Stored(unpack(packed), mark)

    def add(self, outcome: Outcome, mark: int) -> None:
        """Note the outcome of the next row; it is safe after the next `commit`."""
        self._held.append(outcome.pack())
        self._marks.append(mark)
        if len(self._held) >= _ROWS or time.monotonic() - self._written > _SECONDS:
            self.commit()

    def commit(self) -> None:
        """Write what was added, and wait until it is on the disk.

        Raises:
            DataError: It can't be written.
        """
        self._written = time.monotonic()
        if not self._held:
            return
        record = {"outcomes": self._held, "marks": self._marks}
        try:
            _write(self._stream, record)
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror or error}") from error
        self.rows += len(self._held)
        self._held, self._marks = [], []

    def close(self) -> None:
        self._stream.close()

    def remove(self) -> None:
        """Forget everything, when the output is whole."""
        self.path.unlink(missing_ok=True)
        self.close()


def begin(path: Path, asked: Mapping[str, Any], *, restart: bool = False) -> Journal:
    """Begin the journal of a run.

    Args:
        path: Where it is to lie.
        asked: What the run was asked for, in JSON's types.
        restart: Whether a journal that lies there may be thrown away.

    Raises:
        ResumeError: There is one of an unfinished run, or a run is going on.
        OSError: It can't be written.
    """
    stream = _locked(path)
    found = next(_records(stream), None)
    if found is not None and not restart and any(True for _ in _records(stream)):
        stream.close()
        raise ResumeError(f"{path}: an earlier run was not finished; go on with --resume or begin anew with --restart")
    stream.truncate(0)
    stream.seek(0)
    try:
        _write(stream, dict(asked))
    except OSError:
        stream.close()
        path.unlink(missing_ok=True)
        raise
    return Journal(path, stream, 0)


def resume(path: Path, asked: Mapping[str, Any]) -> Journal:
    """Go on with the run that left a journal; where there is nothing to go on with, begin.

    Raises:
        ResumeError: It was asked for something else, or is still going on.
        OSError: The journal can't be read or written.
    """
    if not path.exists():
        return begin(path, asked)
    stream = _locked(path)
    rows = end = 0
    for i, (payload, after) in enumerate(_records(stream)):
        if i == 0:
            changes = list(_changes(payload, json.loads(json.dumps(asked))))
            if changes:
                stream.close()
                raise ResumeError(
                    f"{path}: can't go on, since this has changed: {'; '.join(changes)}; begin anew with --restart"
                )
        else:
            rows += len(payload["outcomes"])
        end = after
    if not end:  # it died before the first record was whole
        stream.close()
        path.unlink()
        return begin(path, asked)
    stream.truncate(end)
    stream.seek(end)
    return Journal(path, stream, rows)


def _locked(path: Path) -> FileIO:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    stream = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise ResumeError(f"{path}: another demur is writing this output") from error
    return stream


def _write(stream: FileIO, record: dict[str, Any]) -> None:
    payload = zlib.compress(json.dumps(record, separators=(",", ":")).encode(), 1)
    rest, at = memoryview(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload), stream.tell()
    try:
        while rest:
            rest = rest[stream.write(rest) :]
        os.fsync(stream.fileno())
    except OSError:
        stream.truncate(at)
        raise


def _records(stream: FileIO) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the whole records and where each ends."""
    while len(frame := stream.read(_FRAME.size)) == _FRAME.size:
        length, check = _FRAME.unpack(frame)
        payload = stream.read(length) if length <= _LONGEST else b""
        if len(payload) != length or zlib.crc32(payload) != check:
            return
        yield json.loads(zlib.decompress(payload)), stream.tell()


def _changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Yield a phrase for each value that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _changes(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from _changes(one, other, f"{name}[{i}]")
    elif before != now:
        yield f"{name} was {json.dumps(before)}, now {json.dumps(now)}"
