"""What a process and all that it started have in memory between them."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

# Seconds between two looks: memory's sum over a page table of a GB takes some milliseconds of a core.
EVERY = 0.5


def family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants; needs Linux's `/proc/PID/task/TID/children`."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in task.read_text().split():
                yield from family(int(child))


def shared_out(pid: int) -> int:
    """Return a process's memory in bytes, what it shares with others counted by halves and so on (PSS, proc(5))."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0  # it has ended


def run(command: Sequence[str]) -> tuple[str, float]:
    """Run a command to its end.

    Returns:
        What it printed, and the most in MB that it and its descendants had in memory at any look.

    Raises:
        RuntimeError: It failed; the message is the last line of its standard error.
    """
    most = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    out, error = process.communicate(timeout=EVERY)
                    break
                most = max(most, sum(shared_out(one) for one in family(process.pid)))
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError((error.strip().splitlines() or [f"exit status {process.returncode}"])[-1])
    return out, round(most / 1e6, 1)
