"""How much does another worker add? One worker, one on each core, and in their place as many processes.

    python benchmarks/bench_workers.py [--rounds N] [--texts N] [--data FOLDER]

Processes share no interpreter and no memory, so that what they reach is what the machine gives. Each block of
conversations goes through all three in turn, in an order drawn anew.
"""

import argparse
import multiprocessing
import random
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import demur
from _common import SEED, machine_line, machine_record, write_results, write_section
from _report import Target, ratio, table, targets_table
from _texts import Row, read_pool
from demur import _machine

BLOCK = 256
LEAST = 1.9
ONE, WORKERS, PROCESSES = "one", "workers", "processes"


class _Processes:
    """Processes that each have a model of one thread, and judge what they are dealt when they are told to."""

    def __init__(self, count: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ends = []
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            spawn.Process(target=_judge, args=(theirs,), daemon=True).start()
            self._ends.append(ours)

    def seconds(self, rows: Sequence[Row]) -> float:
        """Return how long they take for the rows, which are dealt out beforehand."""
        for i, end in enumerate(self._ends):
            end.send(rows[i :: len(self._ends)])
        self._wait()
        begun = time.perf_counter()
        for end in self._ends:
            end.send(None)
        self._wait()
        return time.perf_counter() - begun

    def close(self) -> None:
        """End them."""
        for end in self._ends:
            end.send(None)

    def _wait(self) -> None:
        for end in self._ends:
            end.recv()


def _judge(end: Connection) -> None:
    model = demur.load(threads=1)
    while (rows := end.recv()) is not None:
        end.send(None)
        end.recv()
        for _ in model.stream(rows, workers=1):
            pass
        end.send(None)


def measure(rows: Sequence[Row], cores: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds that each way takes for each block in each round; a first block isn't counted."""
    model, processes, order = demur.load(), _Processes(cores), random.Random(SEED)

    def stream(block: Sequence[Row], workers: int) -> float:
        begun = time.perf_counter()
        for _ in model.stream(block, workers=workers):
            pass
        return time.perf_counter() - begun

    ways = {
        ONE: lambda block: stream(block, 1),
        WORKERS: lambda block: stream(block, cores),
        PROCESSES: processes.seconds,
    }
    samples: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for start in range(0, len(rows) if number else 1, BLOCK):
            for way in order.sample(list(ways), len(ways)):
                took = ways[way](rows[start : start + BLOCK])
                if number:
                    samples[way].append(round(took, 4))
    processes.close()
    return samples


def targets(samples: dict[str, list[float]], cores: int) -> list[Target]:
    """Return the aim beside what was found, on a machine of two cores."""
    aim = f"2 workers at least {LEAST} times 1 worker"
    return [ratio(aim, samples[ONE], samples[WORKERS], LEAST) if cores == 2 else Target(aim, "–", None)]


def main() -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of all (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=1024, metavar="N", help="conversations (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args()
    if min(options.rounds, options.texts) < 1:
        parser.error("--rounds and --texts: expected at least 1")
    cores, pool = _machine.cores(), read_pool(options.data)
    drawn = np.random.default_rng(SEED).permutation(len(pool.rows))[: options.texts]
    samples = measure([pool.rows[i] for i in drawn], cores, options.rounds)
    aims = targets(samples, cores)
    machine = machine_record()
    record = {"machine": machine, "cores": cores, "texts": len(drawn), "origin": pool.origin, "block": BLOCK}
    write_results("workers", record | {"targets": [one.record() for one in aims], "samples_s": samples})
    section = _section(samples, cores, len(drawn), pool.origin, aims, machine_line(machine))
    write_section("workers", section)
    print(section)


def _section(
    samples: dict[str, list[float]], cores: int, texts: int, origin: str, aims: Sequence[Target], machine: str
) -> str:
    rounds = len(samples[ONE]) // -(-texts // BLOCK)
    named = {ONE: "1 worker", WORKERS: f"{cores} workers", PROCESSES: f"{cores} processes of 1 worker"}
    rows = [
        [
            named[way],
            f"{texts * rounds / sum(took):.1f}",
            f"{statistics.median(one / this for one, this in zip(samples[ONE], took, strict=True)):.2f}",
        ]
        for way, took in samples.items()
    ]
    lines = [
        "## How much does another worker add?",
        f"{texts:,} conversations, {BLOCK} at a time, one text a run; {rounds} round{'s' * (rounds > 1)} of each block "
        "through all in turn, in an order drawn anew. Processes share no interpreter, so that what they reach is what "
        "the machine gives.",
        "\n".join(table(["", "texts a second", "times 1 worker, the median of the blocks' own ratios"], rows)),
        "\n".join(targets_table(aims)),
        "In brackets: 95 % of what resampled blocks give.",
        f"The texts: {origin}.",
        machine + "\nRaw: [workers.json](results/workers.json).",
    ]
    return "\n\n".join(lines)


if __name__ == "__main__":
    main()
