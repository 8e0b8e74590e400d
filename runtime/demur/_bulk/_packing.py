"""Bytes in and out of files, plain or packed with gzip or Zstandard, and how far an input has been read."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from demur._extras import need
from demur.errors import DataError

_BUFFER = 1 << 18
# Little at a time, to unpack to some 8 MB at most: deflate makes of a byte a thousand, Zstandard of four 128 KiB (a
# block of one byte repeated, RFC 8878).
_PIECE_GZIP, _PIECE_ZSTD = 1 << 13, 1 << 8
_LEVEL_GZIP, _LEVEL_ZSTD = 6, 3


class Consumed:
    """How much of the inputs has been read.

    Attributes:
        done: Bytes, as they lie on disk.
    """

    def __init__(self) -> None:
        self.done = 0


class _Counting(io.RawIOBase):
    """A file that counts what is read from it."""

    def __init__(self, stream: IO[bytes], consumed: Consumed) -> None:
        self._stream, self._consumed = stream, consumed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        n: int = self._stream.readinto(buffer)  # type: ignore[attr-defined]
        self._consumed.done += n
        return n

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Unpacking(io.RawIOBase):
    """Unpacks frames one after the other.

    Unlike the readers of the packages it hands out all that comes before a fault, and notices when the last frame is
    cut short.
    """

    def __init__(self, stream: IO[bytes], begin: Callable[[], Any], piece: int) -> None:
        self._stream, self._begin, self._piece = stream, begin, piece
        self._frame: Any = None
        self._packed, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._ready:
            self._packed = self._packed or self._stream.read(self._piece)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("its end is missing")
                return 0
            if self._frame is None:
                self._packed = self._packed.lstrip(b"\0")  # gzip files may be padded, and no frame begins so
                if not self._packed:
                    continue
            frame = self._frame or self._begin()
            self._ready = memoryview(frame.decompress(self._packed))
            self._frame, self._packed = (None, frame.unused_data) if frame.eof else (frame, b"")
        n = min(len(buffer), len(self._ready))
        buffer[:n], self._ready = self._ready[:n], self._ready[n:]
        return n

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_input(path: Path, packing: str, consumed: Consumed) -> "io.BufferedReader[Any]":
    """Open a file to read what is packed in it.

    Args:
        path: The file.
        packing: How it is packed: `gz`, `zst` or nothing.
        consumed: Told how much of the file has been read.

    Raises:
        OSError: It can't be opened.
        DataExtraError: What unpacks it is not installed.
    """
    return unpacked(path.open("rb", buffering=0), packing, consumed)


def unpacked(stream: IO[bytes], packing: str, consumed: Consumed) -> "io.BufferedReader[Any]":
    """Read what is packed in a stream, as `open_input` does; closing the reader closes the stream."""
    raw = io.BufferedReader(_Counting(stream, consumed), _BUFFER)
    if packing == "gz":
        begin = partial(zlib.decompressobj, zlib.MAX_WBITS | 16)
        return io.BufferedReader(_Unpacking(raw, begin, _PIECE_GZIP), _BUFFER)
    if packing == "zst":
        zstandard = need("zstandard", "data", "a .zst file")
        frames = _Unpacking(raw, lambda: zstandard.ZstdDecompressor().decompressobj(), _PIECE_ZSTD)
        return io.BufferedReader(frames, _BUFFER)
    return raw


@contextmanager
def faults(name: str) -> Iterator[None]:
    """Turn what unpacking and reading raise into a `DataError` that names the file."""
    try:
        yield
    except (EOFError, zlib.error) as error:
        raise DataError(f"{name}: damaged or cut short: {error}") from error
    except OSError as error:
        raise DataError(f"{name}: {error.strerror or error}") from error
    except Exception as error:
        # subtle: the packages of the [data] extra have errors of their own, which can't be named without them.
        if type(error).__module__.split(".")[0] not in ("zstandard", "pyarrow"):
            raise
        raise DataError(f"{name}: damaged or cut short: {error}") from error


def packed(stream: IO[bytes], packing: str) -> IO[bytes]:
    """Pack what is written, so that the same bytes in are the same bytes out, at any time and under any name.

    Args:
        stream: Gets the packed bytes; it stays open when the returned stream is closed.
        packing: `gz`, `zst` or nothing, which returns `stream` itself.

    Raises:
        DataExtraError: What packs it is not installed.
    """
    if packing == "gz":
        return gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL_GZIP, fileobj=stream, mtime=0)  # type: ignore[return-value]
    if packing == "zst":
        compressor = need("zstandard", "data", "a .zst file").ZstdCompressor(level=_LEVEL_ZSTD)
        written: IO[bytes] = compressor.stream_writer(stream, closefd=False)
        return written
    return stream
