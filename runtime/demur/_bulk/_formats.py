"""What kind of file holds the rows: by its first bytes, then by its ending."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from demur.errors import DataError

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "arrow")
PACKINGS = ("gz", "zst")
# Formats that pyarrow reads and writes; they have compression of their own.
COLUMNAR = ("parquet", "arrow")

_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
# What a text that is not UTF-8 but UTF-16 begins with.
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
# Magic numbers: gzip RFC 1952, Zstandard RFC 8878, Parquet and Arrow their format specifications.
_GZIP, _ZSTD, _PARQUET, _ARROW = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1"
_HEAD = 4096


class Format(NamedTuple):
    """A format and how it is packed.

    Attributes:
        name: One of `FORMATS`.
        packing: One of `PACKINGS`, or nothing.
    """

    name: str
    packing: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.packing}" if self.packing else self.name


def named() -> Iterator[str]:
    """Yield every name that `parse` takes."""
    for name in FORMATS:
        yield name
        yield from (f"{name}.{packing}" for packing in PACKINGS if name not in COLUMNAR)


def parse(text: str) -> Format:
    """Return the format of a name such as `csv` or `jsonl.gz`.

    Raises:
        DataError: There is no such format.
    """
    if text not in named():
        raise DataError(f"unknown format {text!r}; expected one of {', '.join(named())}")
    name, _, packing = text.partition(".")
    return Format(name, packing)


def by_ending(name: str) -> Format | None:
    """Return the format that a file's name says, or None."""
    lower, packing = name.lower(), ""
    for one in PACKINGS:
        if lower.endswith(f".{one}"):
            lower, packing = lower.removesuffix(f".{one}"), one
    found = _ENDINGS.get(Path(lower).suffix)
    return Format(found, packing) if found and not (packing and found in COLUMNAR) else None


def by_content(path: Path) -> Format:
    """Return the format of a file, by its first bytes where they tell, otherwise by its ending.

    A file that tells nothing is taken for JSONL. One that ends in `.json` and does not begin with a bracket is
    JSONL too.

    Raises:
        DataError: It is UTF-16, or no text and its ending says nothing.
        OSError: It can't be read.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    packing = {_GZIP: "gz", _ZSTD[:2]: "zst"}.get(head[:2], "") if head[:4] == _ZSTD or head[:2] == _GZIP else ""
    if head.startswith(_PARQUET):
        return Format("parquet")
    if head.startswith(_ARROW):
        return Format("arrow")
    said = by_ending(path.name)
    name = said.name if said else None
    if packing == "gz":
        head = _unpacked(head)
    if name != "arrow" and packing != "zst":
        _check_text(path, head, name)
    # subtle: what is packed with Zstandard is unpacked by a package that may be missing; its ending has to do.
    first = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] if packing != "zst" else b""
    if name in (None, "json"):
        name = "json" if first == b"[" or (name == "json" and not first) else "jsonl"
    return Format(name or "jsonl", packing)


def _check_text(path: Path, head: bytes, name: str | None) -> None:
    if head.startswith(_UTF_16):
        raise DataError(f"{path}: is UTF-16, expected UTF-8; convert it with iconv -f UTF-16 -t UTF-8")
    # subtle: a NUL is in no text of these formats, and near the beginning of nearly all that is no text.
    if name is None and b"\0" in head:
        raise DataError(f"{path}: its contents and its ending are of no known format; expected {', '.join(FORMATS)}")


def _unpacked(head: bytes) -> bytes:
    with suppress(zlib.error):
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _HEAD)
    return b""
