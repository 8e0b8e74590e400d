"""Does a huge text cost more than a long one? 10 MB against 10 kB, end to end.

python benchmarks/bench_long.py
"""

import resource
import statistics
import time

import demur
from _common import machine_line, machine_record, write_results, write_section
from _report import Target, table, targets_table

SIZES = {"10 kB": 10_000, "1 MB": 1_000_000, "10 MB": 10_000_000}
SENTENCE = "Then turn the page, read what it says, and go on to the next one. "
ROUNDS = 15


def main() -> None:
    """Measure, and write results and section."""
    model = demur.load(threads=1)
    texts = {name: (SENTENCE * (size // len(SENTENCE) + 1))[:size] for name, size in SIZES.items()}
    samples: dict[str, list[float]] = {name: [] for name in texts}
    elided = {}
    for text in texts.values():
        model.check(text)  # warm
    before = _peak()
    for _ in range(ROUNDS):
        for name, text in texts.items():
            start = time.perf_counter()
            elided[name] = model.check(text, prompt="Is this long?").elided
            samples[name].append(1000 * (time.perf_counter() - start))
    grown = _peak() - before
    medians = {name: statistics.median(values) for name, values in samples.items()}
    most = 2 * medians["10 kB"] + 20
    aim = Target(
        f"10 MB within twice the time of 10 kB and 20 ms: {most:.1f} ms",
        f"{medians['10 MB']:.1f} ms",
        medians["10 MB"] <= most,
    )
    machine = machine_record()
    write_results(
        "long",
        {"machine": machine, "samples_ms": samples, "elided": elided, "peak_growth_mb": grown}
        | {"target": aim.record()},
    )
    rows = [[name, f"{medians[name]:.1f}", f"{elided[name]:,}"] for name in texts]
    lines = [
        "## Long texts (`bench_long.py`)",
        machine_line(machine),
        f"One reply of each size through `model.check`, one thread, median of {ROUNDS} interleaved rounds. Peak memory "
        f"grew by {grown:.1f} MB over the rounds.",
        "\n".join(table(["reply", "ms", "tokens left out"], rows)),
        "\n".join(targets_table([aim])),
    ]
    write_section("long", "\n\n".join(lines))
    print("\n\n".join(lines))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
