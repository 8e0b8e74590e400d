"""Rows of JSONL files and of JSON arrays, one at a time."""

import io
import json
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from demur import _jsonl
from demur._bulk._row import mark
from demur.errors import DataError, InputError

# White space and the parts of a byte order mark: what a blank line is made of.
BLANK = b" \t\r\n\x0b\x0c\xef\xbb\xbf"
_CHUNK = 1 << 16
_NEAR = 64
# How much of a line that is too long is kept, to tell it by.
_HEAD = 1000
# How far before the end of what is held JSON's parser may find fault with a literal or an escape that is cut short.
_LITERAL = 16
# Characters of an element that may be held while its end is looked for.
_LIMIT = 1 << 30


class Line(NamedTuple):
    """A JSON object as text.

    Attributes:
        file: The file's name.
        number: The line, or the place in the array, from 1.
        text: Its bytes; of one that is longer than allowed only the beginning.
        error: Why it can't be read, if it is longer than allowed.
    """

    file: str
    number: int
    text: bytes
    error: str | None = None

    @property
    def size(self) -> int:
        return len(self.text)

    def judged(self) -> dict[str, Any]:
        return self.fields()

    def fields(self) -> dict[str, Any]:
        if self.error is not None:
            raise InputError(self.error)
        return _jsonl.parse(self.text)

    def raw(self) -> str:
        return self.text.decode("utf-8", "replace").strip()

    def mark(self) -> int:
        return mark(self.text)


def lines(stream: IO[bytes], file: str, max_bytes: int | None = None) -> Iterator[Line]:
    """Yield the lines of a JSONL file that aren't blank.

    Args:
        stream: The file; closed at the end.
        file: Its name.
        max_bytes: Lines that are longer than that are not held in memory.
    """
    # subtle: whoever reads the lines closes the file; another thread can't while this one waits for a line.
    with stream:
        number = 0
        if max_bytes is None:
            for text in stream:
                number += 1
                if not blank(text):
                    yield Line(file, number, text)
                del text
            return
        while text := stream.readline(max_bytes + 2):
            number += 1
            if len(text.rstrip(b"\r\n")) > max_bytes:
                yield Line(file, number, text[:_HEAD], too_long(_skip_line(stream, text), max_bytes))
            elif not blank(text):
                yield Line(file, number, text)


def blank(text: bytes) -> bool:
    """Whether a line is blank; one that isn't is seldom looked at, and never copied, as a whole."""
    return not text[:_NEAR].strip(BLANK) and not text.strip(BLANK)


def too_long(size: int, max_bytes: int) -> str:
    """Return the error of a row that is longer than allowed."""
    return f"the row has {size} bytes, more than the {max_bytes} of --max-row-bytes"


def _skip_line(stream: IO[bytes], text: bytes) -> int:
    """Read the rest of a line that begins so; return the bytes of the whole line without its break."""
    size = 0
    while True:
        size += len(text)
        if text.endswith(b"\n"):
            return size - (2 if text.endswith(b"\r\n") else 1)
        text = stream.readline(_CHUNK)
        if not text:
            return size


def elements(stream: io.BufferedReader, file: str, max_bytes: int | None = None) -> Iterator[Line]:
    """Yield the elements of a JSON array, each as its own text, reading no further than the next one needs.

    Args:
        stream: The file; closed at the end.
        file: Its name.
        max_bytes: Elements that are longer than that can't be read.

    Raises:
        DataError: It is no array, or ends before the array does.
    """
    with stream:
        text = _Text(stream, file, _LIMIT if max_bytes is None else max_bytes)
        if text.peek() != "[":
            raise DataError(f"{file}: not a JSON array: it begins with {text.peek()!r}")
        text.skip(1)
        number = 0
        while text.peek() != "]":
            if number:
                if text.peek() != ",":
                    raise DataError(f"{file}: not JSON: expected a comma after element {number}")
                text.skip(1)
            number += 1
            element = text.take(number).encode()
            error = too_long(len(element), max_bytes) if max_bytes is not None and len(element) > max_bytes else None
            yield Line(file, number, element if error is None else element[:_HEAD], error)


class _Text:
    """The text of a stream, of which a growing part is held until the next value is complete."""

    def __init__(self, stream: io.BufferedReader, file: str, limit: int) -> None:
        self._stream, self._file, self._limit = io.TextIOWrapper(stream, "utf-8-sig", newline=""), file, limit
        self._decoder = json.JSONDecoder()
        self._held, self._at, self._chunk = "", 0, _CHUNK

    def peek(self) -> str:
        """Return the next character that is no white space."""
        while True:
            while self._at < len(self._held):
                if not self._held[self._at].isspace():
                    return self._held[self._at]
                self._at += 1
            if not self._more():
                raise DataError(f"{self._file}: not JSON: the array does not end")

    def skip(self, characters: int) -> None:
        self._at += characters

    def take(self, number: int) -> str:
        """Return the text of the value that comes next."""
        self.peek()
        while True:
            try:
                _, end = self._decoder.raw_decode(self._held, self._at)
                # subtle: a number at the end of what is held may go on after it.
                if end < len(self._held) or not self._more():
                    text = self._held[self._at : end]
                    self._at, self._chunk = end, _CHUNK
                    return text
            except RecursionError as error:
                raise DataError(f"{self._file}: element {number} is nested too deeply") from error
            except ValueError as error:
                if not (self._cut_short(error) and self._more()):
                    raise DataError(f"{self._file}: not JSON: element {number}: {error}") from error

    def _cut_short(self, error: ValueError) -> bool:
        """Whether a value is no JSON because the rest of it has not been read, not because it is wrong."""
        if not isinstance(error, json.JSONDecodeError) or len(self._held) - self._at > self._limit:
            return False
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._held) - _LITERAL

    def _more(self) -> bool:
        try:
            piece = self._stream.read(self._chunk)
        except UnicodeDecodeError as error:
            raise DataError(f"{self._file}: not UTF-8: {error.reason}") from error
        self._held, self._at = self._held[self._at :] + piece, 0
        self._chunk *= 2  # so that a value of any length is looked at a few times, not at each piece of it
        return bool(piece)
