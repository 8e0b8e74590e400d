"""How fast does a packaged function start? From starting Python to its first verdict, under AWS Lambda's own client.

python benchmarks/bench_function.py [--runs N]
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import _cold
from _common import machine_line, machine_record, require, write_results, write_section
from _function import RuntimeApi, link_client, running
from _report import table
from demur._package import options
from demur._package.build import Request, build

EVENT = {"prompt": _cold.PROMPT, "response": _cold.REPLY}
WARM = 20
PACKAGED, SOURCE, COMMAND = "packaged", "uncompiled", "command"
NAMES = {
    PACKAGED: "the packaged function",
    SOURCE: "the same without its bytecode",
    COMMAND: "`demur check` as pip installs it",
}


def cold(task: Path, client: Path) -> dict[str, float]:
    """Start a function and ask it once, and then some more.

    Returns:
        Seconds from its start until it asks for an event and until its first answer, the processor's seconds until
        then, the median milliseconds of later answers, and its peak memory in MB.
    """
    with RuntimeApi() as api:
        start = time.perf_counter()
        with running(task, client, api) as process:
            api.invoke(EVENT)
            first, processor = time.perf_counter() - start, _processor(process.pid)
            assert api.ready is not None
            warm = sorted(_milliseconds(api) for _ in range(WARM))
            status = Path(f"/proc/{process.pid}/status").read_text()
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return {
        "ready_s": round(api.ready - start, 4),
        "first_s": round(first, 4),
        "processor_s": processor,
        "warm_ms": round(warm[WARM // 2], 3),
        "peak_mb": round(peak * 1024 / 1e6, 1),
    }


def _processor(pid: int) -> float:
    """Return the seconds that a process has kept processors busy: `utime` and `stime` of proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(command: list[str]) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    first = _cold.seconds(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"first_s": round(first, 4), "processor_s": round(used, 2)}


def _milliseconds(api: RuntimeApi) -> float:
    start = time.perf_counter()
    api.invoke(EVENT)
    return 1000 * (time.perf_counter() - start)


def measure(task: Path, folder: Path, runs: int) -> dict[str, list[dict[str, float]]]:
    """Start each in turn `runs` times, after a round that is not counted and leaves the files in memory."""
    client, source = folder / "client", folder / "source"
    link_client(client)
    shutil.copytree(task, source, copy_function=os.link, ignore=shutil.ignore_patterns("__pycache__"))
    check = [sys.executable, "-m", "demur", "check", _cold.REPLY, "--prompt", _cold.PROMPT]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for i in range(runs + 1):
        one = {PACKAGED: cold(task, client), SOURCE: cold(source, client), COMMAND: _command(check)}
        for name, took in one.items():
            if i:
                found[name].append(took)
    return found


def section(record: dict[str, Any]) -> str:
    """Return the section of the page."""
    shown = {
        "ready_s": "loaded, s",
        "first_s": "first verdict, s",
        "processor_s": "processor until then, s",
        "warm_ms": "later verdicts, ms",
        "peak_mb": "MB",
    }
    rows = []
    for name, samples in record["samples"].items():
        found = {key: [one[key] for one in samples] for key in samples[0]}
        cells = [f"{_cold.median(found[key]):.3g} / {min(found[key]):.3g}" if key in found else "" for key in shown]
        rows.append([NAMES[name], *cells])
    lines = [
        "## How fast does a packaged function start?",
        "What `demur package` makes, started by a bare Python with awslambdaric, Lambda's own client, against a "
        f"stand-in of its Runtime API on loopback; median / least of {record['runs']} fresh processes in turn, the "
        "files already in memory. Lambda's own work before it starts Python is not in it, nor is reading the files for "
        "the first time. MB: the process's peak.",
        "\n".join(table(["", *shown.values()], rows)),
        machine_line(record["machine"]) + "\nRaw: [function.json](results/function.json).",
    ]
    return "\n\n".join(lines)


def main() -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="fresh processes of each")
    runs = parser.parse_args().runs
    require("awslambdaric")
    with tempfile.TemporaryDirectory() as room:
        task = Path(room) / "task"
        build(Request("folder", task, None, options.default_platform(), f"3.{sys.version_info.minor}"))
        packaged = json.loads((task / "demur-package.json").read_text())
        samples = measure(task, Path(room), runs)
    record = {"machine": machine_record("awslambdaric"), "runs": runs, "packaged": packaged, "samples": samples}
    write_results("function", record)
    said = section(record)
    write_section("function", said)
    print(said)


if __name__ == "__main__":
    main()
