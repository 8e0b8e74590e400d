"""What a machine grants, read from sample files."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demur import _machine

linux = pytest.mark.skipif(sys.platform != "linux", reason="cgroups and affinity are Linux's")


Quota = Callable[[str, dict[str, str]], float | None]
Grant = Callable[[int, str], None]


@pytest.fixture
def quota(tmp_path: Path) -> Quota:
    """Return what `_machine.quota` reads from a membership and the files under the cgroup mount."""

    def read(membership: str, files: dict[str, str]) -> float | None:
        root = tmp_path / "cgroup"
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (tmp_path / "membership").write_text(membership)
        return _machine.quota(root, tmp_path / "membership")

    return read


# cgroup v2


def test_a_quota_is_its_share_of_the_period(quota: Quota) -> None:
    assert quota("0::/\n", {"cpu.max": "200000 100000\n"}) == 2


def test_a_fractional_quota_stays_fractional(quota: Quota) -> None:
    assert quota("0::/\n", {"cpu.max": "150000 100000\n"}) == 1.5


def test_a_quota_counts_by_its_own_period(quota: Quota) -> None:
    assert quota("0::/\n", {"cpu.max": "150000 50000\n"}) == 3


def test_max_is_no_quota(quota: Quota) -> None:
    assert quota("0::/\n", {"cpu.max": "max 100000\n"}) is None


def test_the_quota_of_the_processs_own_group_counts(quota: Quota) -> None:
    files = {"a/b/cpu.max": "300000 100000\n", "a/other/cpu.max": "100000 100000\n"}
    assert quota("0::/a/b\n", files) == 3


@pytest.mark.parametrize(
    ("outer", "middle", "inner"),
    [("400000", "200000", "max"), ("200000", "max", "400000"), ("max", "300000", "200000")],
)
def test_the_tightest_of_nested_groups_wins(quota: Quota, outer: str, middle: str, inner: str) -> None:
    files = {"cpu.max": f"{outer} 100000", "a/cpu.max": f"{middle} 100000", "a/b/cpu.max": f"{inner} 100000"}
    assert quota("0::/a/b\n", files) == 2


def test_a_group_of_the_host_that_is_not_visible_falls_back_to_the_containers_root(quota: Quota) -> None:
    assert quota("0::/system.slice/docker-0123.scope\n", {"cpu.max": "100000 100000\n"}) == 1


def test_a_root_group_without_a_limit_file_has_no_quota(quota: Quota) -> None:
    assert quota("0::/\n", {"cgroup.procs": ""}) is None


def test_a_group_name_with_a_colon_is_read_whole(quota: Quota) -> None:
    assert quota("0::/a:b\n", {"a:b/cpu.max": "200000 100000"}) == 2


# cgroup v1


@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_v1_reads_the_cpu_controllers_mount(quota: Quota, mount: str) -> None:
    files = {f"{mount}/a/cpu.cfs_quota_us": "250000\n", f"{mount}/a/cpu.cfs_period_us": "100000\n"}
    assert quota("11:memory:/m\n4:cpu,cpuacct:/a\n1:name=systemd:/s\n", files) == 2.5


def test_v1_minus_one_is_no_quota(quota: Quota) -> None:
    files = {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}
    assert quota("4:cpu:/\n", files) is None


def test_v1_a_period_of_zero_is_no_quota(quota: Quota) -> None:
    files = {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "0\n"}
    assert quota("4:cpu:/\n", files) is None


def test_v1_the_tightest_of_nested_groups_wins(quota: Quota) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "100000",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/a/cpu.cfs_quota_us": "400000",
        "cpu/a/cpu.cfs_period_us": "100000",
    }
    assert quota("4:cpu:/a\n", files) == 1


def test_v1_controllers_that_only_begin_with_cpu_are_not_the_quotas(quota: Quota) -> None:
    files = {"cpuset/cpu.cfs_quota_us": "100000", "cpuset/cpu.cfs_period_us": "100000"}
    assert quota("3:cpuset:/\n2:cpuacct:/\n", files) is None


def test_with_both_versions_mounted_the_tighter_wins(quota: Quota) -> None:
    files = {
        "cpu/cpu.cfs_quota_us": "300000",
        "cpu/cpu.cfs_period_us": "100000",
        "unified/cpu.max": "200000 100000",
    }
    assert quota("4:cpu:/\n0::/unified\n", files) == 2


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert _machine.quota(tmp_path, tmp_path / "missing") is None


# Cores


@pytest.fixture
def grant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Grant:
    """Let the operating system grant so many processors and this `cpu.max`."""

    def pretend(processors: int, limit: str) -> None:
        files = {"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": limit}
        read_text = Path.read_text

        def read(path: Path, *args: str | None) -> str:
            return files[str(path)] if str(path) in files else read_text(path, *args)

        monkeypatch.setattr(Path, "read_text", read)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))

    return pretend


@linux
@pytest.mark.parametrize(
    ("processors", "limit", "cores"),
    [
        (8, "max 100000", 8),
        (8, "300000 100000", 3),
        (2, "300000 100000", 2),
        (8, "150000 100000", 1),
        (8, "199999 100000", 1),
        (8, "10000 100000", 1),
        (1, "max 100000", 1),
    ],
)
def test_cores_are_the_lesser_of_affinity_and_whole_quota_and_never_none(
    grant: Grant, processors: int, limit: str, cores: int
) -> None:
    grant(processors, limit)
    assert _machine.cores() == cores


@linux
def test_affinity_is_this_processs_own() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert _machine.affinity() == 1
        assert _machine.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


# Instruction sets

_XEON = """\
processor	: 0
vendor_id	: GenuineIntel
model name	: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags		: fpu sse4_2 avx2 avx512f avx512bw avx512_vnni amx_bf16 amx_tile amx_int8
bugs		: spectre_v1

processor	: 1
flags		: fpu
"""
_HASWELL = "processor\t: 0\nflags\t\t: fpu sse4_2 fma avx avx2\n"
_GRAVITON = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp sve i8mm\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (_XEON, ("avx2", "avx512f", "avx512_vnni", "amx_int8")),
        (_HASWELL, ("avx2",)),
        (_GRAVITON, ("asimddp", "i8mm")),
        ("processor\t: 0\nmodel name\t: flags avx2\n", ()),
        ("", ()),
    ],
    ids=["xeon", "haswell", "graviton", "no list", "empty"],
)
def test_instruction_sets_are_read_from_cpuinfo(tmp_path: Path, cpuinfo: str, expected: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert _machine.instruction_sets(tmp_path / "cpuinfo") == expected


def test_unreadable_cpuinfo_gives_no_instruction_sets(tmp_path: Path) -> None:
    assert _machine.instruction_sets(tmp_path / "missing") == ()


@pytest.mark.parametrize(
    ("machine", "sets", "saturates"),
    [
        ("x86_64", (), True),
        ("x86_64", ("avx2",), True),
        ("x86_64", ("avx2", "avx512f"), True),
        ("AMD64", ("avx2",), True),
        ("i686", (), True),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), False),
        ("x86_64", ("amx_int8",), False),
        ("aarch64", (), False),
        ("arm64", ("asimddp", "i8mm"), False),
    ],
)
def test_int8_products_saturate_on_x86_without_vnni(machine: str, sets: tuple[str, ...], saturates: bool) -> None:
    assert _machine.int8_saturates(machine, sets) is saturates


def test_the_processor_is_described_by_name_kind_and_instruction_sets(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(_XEON)
    assert _machine.processor(cpuinfo) == {
        "name": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "machine": platform.machine(),
        "instruction_sets": ["avx2", "avx512f", "avx512_vnni", "amx_int8"],
    }
    assert _machine.processor(tmp_path / "none")["name"]
    assert _machine.processor(tmp_path / "none")["instruction_sets"] == []
