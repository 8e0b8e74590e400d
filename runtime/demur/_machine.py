"""What this machine grants to this process: cores by affinity and cgroup quota, instruction sets; and memory back."""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

# What demur's int8 graphs can use, in the spelling of /proc/cpuinfo.
_INTERESTING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_UNNAMED = "unknown"
_EXACT = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
_X86 = frozenset({"x86_64", "amd64", "i386", "i686"})


def scheduled() -> tuple[int, ...]:
    """Return the numbers of the processors that this process may run on; none where the system doesn't tell."""
    if sys.platform == "linux":
        return tuple(sorted(os.sched_getaffinity(0)))
    return ()


def affinity() -> int:
    """Return how many processors this process may run on."""
    return len(scheduled()) or os.cpu_count() or 1


def quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the processors' worth of time that the tightest cgroup around this process grants, None if unlimited.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us` over `cpu.cfs_period_us`), from the process's own
    group up to the root. In a container the root is the container's own group.

    Args:
        root: Where cgroups are mounted.
        membership: The process's list of groups.
    """
    limits = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount = root
        elif "cpu" in controllers.split(","):
            mount = next((root / name for name in (controllers, "cpu") if (root / name).is_dir()), root)
        else:
            continue
        folder = mount / group.strip("/")
        for place in (folder, *folder.parents):
            limits.append(_limit(place))
            if place == mount:
                break
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    try:
        allowed, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if allowed in ("max", "-1") or int(period) <= 0:
        return None
    return int(allowed) / int(period)


def cores() -> int:
    """Return how many threads this process can keep busy: the lesser of affinity and quota, at least 1.

    A quota of 1.5 gives 1: a second thread would be stopped for half of every period.
    """
    limit = quota()
    granted = affinity()
    return granted if limit is None else max(1, min(granted, int(limit)))


def granted(asked: int | None) -> int:
    """Return how many threads or workers to use: as many as were asked for, and never more than `cores`.

    More would only take turns on the same processors.

    Args:
        asked: The user's word; None for as many as can be kept busy.
    """
    return cores() if asked is None else min(asked, cores())


def limit(allowed: float | None, scheduled: int) -> str:
    """Return in words what decides the number of `cores`.

    Args:
        allowed: What `quota` found.
        scheduled: What `affinity` found.
    """
    if allowed is None or int(allowed) >= scheduled:
        return "all that this process may be scheduled on"
    return f"its cgroup's quota, rounded {'down' if allowed >= 1 else 'up'}"


def no_blas_threads() -> None:
    """Keep numpy's BLAS, of which demur uses nothing, from starting threads, unless the user has set how many.

    For a process that is demur's alone, before numpy is imported: a thread for each core would spin while the rest is
    loaded, 60 ms of processor time on two cores.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Return the instruction sets that matter for int8 products; empty where they cannot be read."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            present = set(value.split())
            return tuple(name for name in _INTERESTING if name in present)
    return ()


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Return this processor's name, its machine type such as `x86_64` or `aarch64`, and its instruction sets.

    The name is the kernel's, or what Python knows where the kernel gives none, as on most aarch64.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":") for line in lines)
    name = next((value.strip() for key, _, value in named if key.strip() == "model name"), platform.processor())
    return {
        "name": name or _UNNAMED,
        "machine": platform.machine(),
        "instruction_sets": list(instruction_sets(cpuinfo)),
    }


def int8_saturates(machine: str | None = None, sets: tuple[str, ...] | None = None) -> bool:
    """Return whether 8-bit products overflow 16 bits here: x86 without VNNI and AMX.

    There `vpmaddubsw` adds two u8 x s8 products in 16 bits and saturates, so the same graph gives other
    answers. Where the instruction sets can't be read, x86 counts as saturating: slower, never wrong.
    """
    machine = platform.machine() if machine is None else machine
    sets = instruction_sets() if sets is None else sets
    return machine.lower() in _X86 and not _EXACT.intersection(sets)


def give_back() -> None:
    """Give memory that was freed back to the system, where the C library can (glibc's `malloc_trim`)."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
