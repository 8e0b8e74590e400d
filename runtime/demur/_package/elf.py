"""What a shared library for Linux needs: read from its ELF tables, without running it.

Offsets and constants are those of the ELF-64 Object File Format 1.5 (chapters "ELF header", "Program header table"
and "Dynamic section").
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from demur.errors import PackageError

# e_machine's values (System V ABI, AMD64 and AArch64 supplements).
_MACHINES = {62: "x86_64", 183: "aarch64"}
_LOAD, _DYNAMIC = 1, 2
_END, _NEEDED, _STRINGS = 0, 1, 5

# What a Linux with glibc has by itself (PEP 600 leaves it to its list of policies: auditwheel's manylinux_2_28).
_SYSTEM = {"libc", "libm", "libdl", "librt", "libpthread", "libgcc_s", "libstdc++", "libz", "libutil", "libresolv"}


@dataclass(frozen=True)
class Library:
    """A shared library: the machine that it is for, and the names of what it has to be loaded with."""

    machine: str
    needs: tuple[str, ...]


def read(path: Path) -> Library:
    """Read a shared library's tables.

    Raises:
        PackageError: It is no whole 64-bit little-endian ELF file.
    """
    data = path.read_bytes()
    try:
        if data[:6] != b"\x7fELF\x02\x01":
            raise PackageError(f"{path}: begins with {data[:6]!r}, expected a shared library for 64-bit Linux")
        machine, start, size, count = _header(data)
        segments = [struct.unpack_from("<IIQQQQ", data, start + i * size) for i in range(count)]
        loads = [(address, offset, length) for kind, _, offset, address, _, length in segments if kind == _LOAD]
        entries = []
        for kind, _, at, _, _, length in segments:
            if kind == _DYNAMIC:
                entries += list(struct.iter_unpack("<qQ", data[at : at + length // 16 * 16]))
        tags = entries[: [tag for tag, _ in entries].index(_END)] if entries else []
        strings = [_offset(loads, value) for tag, value in tags if tag == _STRINGS]
        needs = tuple(_text(data, strings[0] + value) for tag, value in tags if tag == _NEEDED)
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise PackageError(f"{path}: damaged: its ELF tables lead out of the file") from error
    return Library(_MACHINES.get(machine, f"machine {machine}"), needs)


def is_library(path: Path) -> bool:
    """Return whether a file's name is a shared library's, as `x.so` and `x.so.1` are."""
    return ".so" in path.suffixes and path.is_file()


def check(folder: Path, machine: str) -> None:
    """Make sure that every shared library in `folder` is for `machine` and that all it needs is there.

    Raises:
        PackageError: One is for another machine, or needs something that is neither in the folder nor part of Linux.
    """
    libraries = sorted(path for path in folder.rglob("*") if is_library(path))
    here = {path.name for path in libraries}
    for path in libraries:
        library = read(path)
        if library.machine != machine:
            raise PackageError(f"{path}: is for {library.machine}, expected {machine}")
        missing = [name for name in library.needs if name not in here and not _is_system(name)]
        if missing:
            raise PackageError(
                f"{path}: needs {', '.join(missing)}, which was left out or never came; a rule in demur's list of what "
                "is never loaded is no longer right: take a newer demur"
            )


def _header(data: bytes) -> tuple[int, int, int, int]:
    """Return machine, and offset, entry size and number of the program headers."""
    (machine,) = struct.unpack_from("<H", data, 18)
    (start,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return machine, start, size, count


def _offset(loads: list[tuple[int, int, int]], address: int) -> int:
    for first, offset, length in loads:
        if first <= address < first + length:
            return address - first + offset
    raise ValueError("an address in no segment")


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "replace")


def _is_system(name: str) -> bool:
    return name.partition(".so")[0] in _SYSTEM or name.startswith("ld-linux-")
