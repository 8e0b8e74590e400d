"""What many rows would take on a large cluster, on paper: from what was measured on a small one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Tasks of a whole cluster that read, or that write, at a time, as `demur._ray` asks for them (`concurrency`).
READERS = WRITERS = 2
# Bytes a second of the one way to the storage: 10 Gbit/s.
NETWORK = 1.25e9


@dataclass(frozen=True)
class Measured:
    """What was measured of a job of JSONL.

    Attributes:
        rows_per_core: Rows a second that one actor on one core judges, once it is at work.
        bytes_in: Bytes of a row as it is read.
        bytes_out: Bytes of it as it is written.
        counted: Rows a second whose lines one task counts, the pass before all others.
        read: Rows a second that one task reads.
        written: Rows a second that one task writes.
        file: Bytes of each file of the output.
    """

    rows_per_core: float
    bytes_in: float
    bytes_out: float
    counted: float
    read: float
    written: float
    file: float


@dataclass(frozen=True)
class Estimate:
    """What a job would take.

    Attributes:
        core_hours: Of judging.
        hours: With so many cores, the pass that counts lines included.
        counting_hours: That pass alone, in which no core judges.
        limits: For each part that all cores share, the number of cores from which on it is what the job waits for,
            the least first.
        files: That the output is made of.
    """

    core_hours: float
    hours: float
    counting_hours: float
    limits: Sequence[tuple[str, int]]
    files: int


def estimate(measured: Measured, rows: int, cores: int) -> Estimate:
    """Return what `rows` would take on `cores`, each judging as fast as the one that was measured."""
    alone = measured.rows_per_core
    counting = rows / (READERS * measured.counted)
    per_second = {
        f"{READERS} tasks that read": READERS * measured.read,
        f"{WRITERS} tasks that write": WRITERS * measured.written,
        "one 10 Gbit/s way to the storage": NETWORK / (measured.bytes_in + measured.bytes_out),
    }
    judging = rows / min(cores * alone, *per_second.values())
    return Estimate(
        core_hours=rows / alone / 3600,
        hours=(counting + judging) / 3600,
        counting_hours=counting / 3600,
        limits=sorted(((part, int(rate / alone)) for part, rate in per_second.items()), key=lambda limit: limit[1]),
        files=math.ceil(rows * measured.bytes_out / measured.file),
    )
