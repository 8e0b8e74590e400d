"""What do several callers of one model get? Texts a second, and what a text costs, with 1, 2, 4 and 8 at once.

python benchmarks/bench_callers.py [--rounds N]
"""

import argparse
import statistics
import threading
import time

import demur
from _common import machine_line, machine_record, write_results, write_section
from _report import Target, table, targets_table
from demur import _machine

CALLERS = (1, 2, 4, 8)
SECONDS = 1.0
SENTENCE = "I'm sorry, but I can't help with that request, since it could do harm to someone else. "
LEAST, MOST = 0.95, 1.1


def throughput(model: demur.Classifier, texts: list[str], callers: int) -> tuple[float, float]:
    """Let so many threads call, each as soon as it has its answer.

    Returns:
        The texts that they get judged a second, and the processor's milliseconds that each of these takes.
    """
    done = [0] * callers
    together = threading.Barrier(callers + 1)
    end = 0.0

    def call(i: int) -> None:
        together.wait()
        while time.perf_counter() < end:
            model.check(texts[(i + done[i]) % len(texts)])
            done[i] += 1

    threads = [threading.Thread(target=call, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    start, used = time.perf_counter(), time.process_time()
    end = start + SECONDS
    together.wait()
    for thread in threads:
        thread.join()
    used = time.process_time() - used
    return round(sum(done) / (time.perf_counter() - start), 2), round(1000 * used / sum(done), 3)


def main() -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="rounds of all")
    rounds = parser.parse_args().rounds
    models = {threads: demur.load(threads=threads) for threads in dict.fromkeys((1, _machine.cores()))}
    texts = [SENTENCE * (1 + i) for i in range(6)]
    samples: dict[int, dict[int, list[tuple[float, float]]]] = {
        one: {callers: [] for callers in CALLERS} for one in models
    }
    for i in range(rounds + 1):
        for threads, model in models.items():
            for callers in CALLERS:
                found = throughput(model, texts, callers)
                if i:  # the first round is not counted
                    samples[threads][callers].append(found)
    aims = [aim for threads, of in samples.items() for aim in _aims(threads, of)]
    machine = machine_record()
    record = {"machine": machine, "samples": samples, "targets": [aim.record() for aim in aims]}
    write_results("callers", record)
    rows = [
        [
            f"{one}",
            *(" / ".join(f"{statistics.median(part):.1f}" for part in zip(*of[n], strict=True)) for n in CALLERS),
        ]
        for one, of in samples.items()
    ]
    lines = [
        "## What do several callers of one model get?",
        f"Texts a second / the processors' milliseconds for each, medians of {rounds} rounds of {SECONDS:g} s in "
        "turn; callers are threads of one process "
        "that call `model.check`, each as soon as it has its answer, on replies of about 20 to 120 tokens.",
        "\n".join(table(["threads of the model", *(f"{n} callers" if n > 1 else "1 caller" for n in CALLERS)], rows)),
        "\n".join(targets_table(aims)),
        machine_line(machine) + "\nRaw: [callers.json](results/callers.json).",
    ]
    section = "\n\n".join(lines)
    write_section("callers", section)
    print(section)


def _aims(threads: int, samples: dict[int, list[tuple[float, float]]]) -> list[Target]:
    """Whether most callers get as much as the best number of them, at the cost of one, by the rounds' own ratios."""
    rounds = list(zip(*samples.values(), strict=True))
    share = statistics.median(of[-1][0] / max(rate for rate, _ in of) for of in rounds)
    cost = statistics.median(of[-1][1] / of[0][1] for of in rounds)
    named = f"a model of {threads} thread{'s' * (threads != 1)}, {CALLERS[-1]} callers"
    return [
        Target(f"{named}: at least {LEAST:.0%} of the most texts a second", f"{share:.0%}", share >= LEAST),
        Target(f"{named}: at most {MOST} times the processor's time of one", f"{cost:.2f}", cost <= MOST),
    ]


if __name__ == "__main__":
    main()
