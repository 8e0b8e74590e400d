"""What goes wrong outside: it is said by the name of the file, and what came before it is kept."""

import gzip
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from _bulk import as_csv, do, jsonl, read_jsonl, rows

from demur import Classifier
from demur.errors import DataError, InputError
from demur.testing import fake_classifier


def _ids(path: Path) -> list[Any]:
    return [row.get("id") for row in read_jsonl(path)]


def _cut_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(jsonl(rows(300)))[:-200])


def _broken_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(jsonl(rows(40))) + b"\x1f\x8b\xff and what is no gzip member")


def _cut_zstandard(path: Path) -> None:
    frames = [zstandard.compress(jsonl([row])) for row in rows(40)]
    path.write_bytes(b"".join(frames)[:-5])


def _cut_array(path: Path) -> None:
    path.write_bytes(b"[" + b",".join(jsonl([row]) for row in rows(40)) + b', {"prompt": "Q')


def _broken_page(path: Path) -> None:
    table = pa.Table.from_pylist(rows(600))
    pq.write_table(table, path, row_group_size=200, compression="gzip", use_dictionary=False)
    place = pq.read_metadata(path).row_group(2).column(2).data_page_offset
    data = bytearray(path.read_bytes())
    data[place + 40 : place + 80] = bytes(40)
    path.write_bytes(data)


_DAMAGES = {
    "in.jsonl.gz": _cut_gzip,
    "broken.jsonl.gz": _broken_gzip,
    "in.jsonl.zst": _cut_zstandard,
    "in.json": _cut_array,
    "in.parquet": _broken_page,
}


@pytest.mark.parametrize("name", _DAMAGES)
def test_of_a_damaged_file_all_that_comes_before_is_kept(fake: Classifier, tmp_path: Path, name: str) -> None:
    bad, good, out = tmp_path / name, tmp_path / "good.jsonl", tmp_path / "out.jsonl"
    _DAMAGES[name](bad)
    good.write_bytes(jsonl([{"id": "after", "prompt": "Q", "response": "A"}]))
    told: list[str] = []
    report = do(fake, [bad, good], out, tell=told.append)
    *before, after = _ids(out)
    assert after == "after"
    assert len(before) >= 30
    assert [int(i) for i in before] == list(range(len(before)))
    (failure,) = report.failures
    assert failure.startswith(f"{bad}: ")
    assert f"{failure}; the {len(before)} rows before that are kept" in told


def test_a_file_that_is_not_readable_does_not_stop_the_others(fake: Classifier, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.jsonl").write_bytes(jsonl(rows(3)))
    names = [tmp_path / f"{i}.jsonl" for i in range(3)]

    def vanish(text: str) -> float:
        names[1].unlink(missing_ok=True)
        return 0.5

    report = do(fake_classifier(vanish), names, tmp_path / "out.jsonl", workers=1)
    assert report.failures == [f"{names[1]}: No such file or directory"]
    assert _ids(tmp_path / "out.jsonl") == [0, 1, 2, 0, 1, 2]


def test_an_error_among_several_files_names_its_own(fake: Classifier, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_bytes(b"oops\n")
    do(fake, [tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "out.jsonl")
    found = [(row["demur"]["file"], row["demur"]["line"]) for row in read_jsonl(tmp_path / "out.jsonl")]
    assert found == [(str(tmp_path / "a.jsonl"), 1), (str(tmp_path / "b.jsonl"), 1)]


def test_where_nothing_can_be_read_nothing_is_written(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(DataError, match="no input could be read; nothing was written"):
        do(fake, tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_a_file_that_can_not_grow_is_named_and_the_run_can_go_on(fake: Classifier, tmp_path: Path, ending: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / f"out.{ending}"
    source.write_bytes(jsonl([row | {"noise": os.urandom(99).hex()} for row in rows(2000)]))
    with _files_of_at_most(50_000), pytest.raises(DataError, match=f"out.{ending}.demur-.*: File too large"):
        do(fake, source, out)
    assert not out.exists()
    do(fake, source, out, resume=True)
    do(fake, source, tmp_path / f"expected.{ending}")
    assert out.read_bytes() == (tmp_path / f"expected.{ending}").read_bytes()


def test_a_full_disk_is_named_and_the_run_can_go_on(fake: Classifier, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        source = tmp_path / "in.jsonl"
        source.write_bytes(jsonl([row | {"noise": os.urandom(99).hex()} for row in rows(2000)]))
        with pytest.raises(DataError, match="No space left on device"):
            do(fake, source, disk / "out.jsonl")
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        report = do(fake, source, disk / "out.jsonl", resume=True)
        assert report.tally.lines == len(read_jsonl(disk / "out.jsonl")) == 2000
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_is_no_file_is_written_as_it_is(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(3)))
    do(fake, tmp_path / "in.jsonl", Path("/dev/null"), output_format="jsonl")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(DataError, match="/dev/full: No space left on device"):
        do(fake, tmp_path / "in.jsonl", Path("/dev/full"), output_format="jsonl")


def test_a_linked_output_stays_a_link(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(3)))
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "real.jsonl").chmod(0o600)
    (tmp_path / "out.jsonl").symlink_to("real.jsonl")
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").is_symlink()
    assert _ids(tmp_path / "real.jsonl") == [0, 1, 2]
    assert (tmp_path / "real.jsonl").stat().st_mode & 0o777 == 0o600


def test_one_file_for_two_outputs_is_refused(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(3)))
    with pytest.raises(InputError, match="is given for two outputs"):
        do(fake, tmp_path / "in.jsonl", tmp_path / "out.jsonl", errors=tmp_path / "out.jsonl")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_row_that_is_too_long_is_not_scored(fake: Classifier, tmp_path: Path, ending: str) -> None:
    table = rows(3)
    table[0]["response"] = "I'm sorry. " * 500
    source, out = tmp_path / f"in.{ending}", tmp_path / "out.jsonl"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(table), source)
    else:
        source.write_bytes(as_csv(table) if ending == "csv" else jsonl(table))
    report = do(fake, source, out, max_row_bytes=1000)
    assert report.tally.failed == 2
    first, second, _ = read_jsonl(out)
    assert "more than the 1000 of --max-row-bytes" in first["demur"]["error"]
    assert second["demur"]["refusal"] is True
