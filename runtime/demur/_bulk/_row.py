"""A row of a file: what it says, what it was read from, and how it is told from another."""

import zlib
from collections.abc import Mapping
from typing import Any, Protocol


class Row(Protocol):
    """One row, whatever file it comes from."""

    @property
    def file(self) -> str:
        """The name of the file that it is from."""
        ...

    @property
    def number(self) -> int:
        """Its line or row in the file, from 1."""
        ...

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        ...

    def judged(self) -> Mapping[str, Any]:
        """Return the fields that a verdict may rest on.

        Raises:
            InputError: The row can't be read.
        """
        ...

    def fields(self) -> Mapping[str, Any]:
        """Return all its fields.

        Raises:
            InputError: The row can't be read.
        """
        ...

    def raw(self) -> str:
        """Return it as text, for the report of an error."""
        ...

    def mark(self) -> int:
        """Return a check sum of what it says."""
        ...


def mark(value: object, seed: int = 0) -> int:
    """Return a check sum (CRC-32) of a value of JSON's types, or of another by how it is written."""
    if isinstance(value, bytes):
        return zlib.crc32(value, seed)
    if isinstance(value, Mapping):
        for key, one in value.items():
            seed = mark(one, mark(key, seed))
        return zlib.crc32(b"}", seed)
    if isinstance(value, list | tuple):
        for one in value:
            seed = mark(one, seed)
        return zlib.crc32(b"]", seed)
    # subtle: what stands before a text keeps "1" and 1 apart.
    if isinstance(value, str):
        return zlib.crc32(value.encode("utf-8", "surrogatepass"), zlib.crc32(b"s", seed))
    return zlib.crc32(repr(value).encode(), seed)
