"""What a shared library needs, read from libraries that are whole, wrong, broken, or this machine's own."""

import contextlib
import platform
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from demur._package import elf
from demur.errors import PackageError


def library(needs: list[str], machine: int = 62) -> bytes:
    """A shared library of nothing but what it needs: a header, two segments, a table and its strings."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in needs)
    starts = [names.index(b"\0" + name.encode() + b"\0") + 1 for name in needs]
    table, address = 64 + 2 * 56, 0x1000
    entries = [(1, start) for start in starts] + [(5, 0), (0, 0)]
    strings = table + 16 * len(entries)
    entries[-2] = (5, address + strings)
    size = strings + len(names)
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, address, address, size, size, 4096)
    dynamic = struct.pack("<IIQQQQQQ", 2, 6, table, address + table, 0, 16 * len(entries), 0, 8)
    return header + load + dynamic + b"".join(struct.pack("<qQ", *entry) for entry in entries) + names


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_library_whose_needs_are_there_passes(tmp_path: Path) -> None:
    put(tmp_path, "a/module.so", library(["libown.so.1", "libc.so.6", "libstdc++.so.6", "ld-linux-x86-64.so.2"]))
    put(tmp_path, "a.libs/libown.so.1", library([]))
    put(tmp_path, "a/x.source.py", b"no library")
    elf.check(tmp_path, "x86_64")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (library(["libc.so.6", "libonnxruntime.so.1"]), r"module\.so: needs libonnxruntime\.so\.1, which was left out"),
        (library(["libcurl.so.4"]), "needs libcurl"),
        (library(["libc.so.6"], 183), r"is for aarch64, expected x86_64"),
        (library([], 40), r"is for machine 40, expected x86_64"),
        (b"MZ" + bytes(100), "expected a shared library"),
        (b"", "expected a shared library"),
        (library(["libc.so.6"])[:200], "damaged"),
    ],
)
def test_a_library_that_could_not_be_loaded_is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    put(tmp_path, "a/module.so", data)
    with pytest.raises(PackageError, match=reason):
        elf.check(tmp_path, "x86_64")


@example(b"\xff" * 8, 32, 400)  # program headers beyond any address
@given(st.binary(max_size=300), st.integers(6, 400), st.integers(0, 400))
def test_a_broken_library_is_an_error_of_demurs_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, end: int
) -> None:
    whole = library(["libc.so.6", "liba.so"])
    path = tmp_path_factory.getbasetemp() / "broken.so"
    path.write_bytes((whole[:at] + noise + whole[at + len(noise) :])[:end])
    with contextlib.suppress(PackageError):
        elf.read(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads a library of this machine's")
def test_a_real_librarys_needs_are_read() -> None:
    import numpy._core._multiarray_umath as module

    found = elf.read(Path(module.__file__))
    assert found.machine == platform.machine()
    assert {name.partition(".so")[0] for name in found.needs} >= {"libc", "libm"}
