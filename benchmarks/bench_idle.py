"""Does it use the processor between texts, and what does it cost that its threads sleep meanwhile?

    python benchmarks/bench_idle.py [--model NAME|FOLDER] [--threads N] [--rounds N]

demur tells onnxruntime's threads to sleep between runs, where by default they spin for a while and wait for work. Both
ways get the same ids at a duty cycle of one half: after a text, idle for as long as the text took. They take turns in
blocks of texts, in an order drawn anew, with a pause between blocks in which whoever spins comes to rest.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import _common as common
import demur
from _report import Target, table, targets_table
from demur import _bundle, _machine, _session
from demur._bundle import Bundle

SLEEPING, SPINNING = "sleeping", "spinning"
NAMES = {SLEEPING: "sleeping between runs, as demur has it", SPINNING: "spinning, as is onnxruntime's default"}
LENGTHS = (16, 64, 256)
BLOCK, WARM_UP, PAUSE_S, IDLE_S = 16, 3, 0.1, 2.0
IDLE_RUNS = 3
# What counts as none: a thousandth of one processor.
NO_WORSE, NO_CPU = 1.05, 0.001
REPLY = "I'm sorry, but I can't help with that. "

# onnxruntime's own defaults.
THEIRS = {"session.force_spinning_stop": "0", "session.inter_op.allow_spinning": "1"}
Session = Callable[[NDArray[np.int64]], object]
Block = dict[str, list[float]]  # for each text its milliseconds, and those of the processors until the next one


def session(bundle: Bundle, threads: int, spinning: bool) -> Session:
    """Return demur's graph in demur's options, or in these but for the spinning."""
    options = _session.options(threads)
    if spinning:
        ort.set_default_logger_severity(3)  # it warns of a key that is set anew
        anywhere = f"{_machine.scheduled()[0] + 1}-{_machine.scheduled()[-1] + 1}"
        for key, value in (THEIRS | {_session.PLACES: ";".join([anywhere] * (threads - 1))}).items():
            options.add_session_config_entry(key, value)
    made = ort.InferenceSession(str(bundle.model.path), options, providers=["CPUExecutionProvider"])

    def run(ids: NDArray[np.int64]) -> object:
        return made.run([_session.OUTPUT], {_session.INPUT: ids})

    return run


def idle_ms(work: Callable[[], object]) -> float:
    """Return the milliseconds of processor time that this process uses in `IDLE_S` right after some work."""
    work()
    start = time.process_time()
    time.sleep(IDLE_S)
    return round(1000 * (time.process_time() - start), 3)


def half_busy(run: Session, ids: NDArray[np.int64]) -> Block:
    """Judge a block of texts, each after a pause as long as the one before it took."""
    found: Block = {"ms": [], "processor_ms": []}
    for i in range(-WARM_UP, BLOCK):
        used, start = time.process_time(), time.perf_counter()
        run(ids)
        took = time.perf_counter() - start
        time.sleep(took)
        if i >= 0:
            found["ms"].append(round(1000 * took, 4))
            found["processor_ms"].append(round(1000 * (time.process_time() - used), 4))
    return found


def duty(ways: dict[str, Session], ids: dict[int, NDArray[np.int64]], rounds: int) -> dict[str, dict[int, list[Block]]]:
    """Return each way's blocks by length, a block a round."""
    found: dict[str, dict[int, list[Block]]] = {way: {tokens: [] for tokens in ids} for way in ways}
    order = random.Random(common.SEED)
    for _ in range(rounds):
        for tokens, one in ids.items():
            for way in order.sample(list(ways), len(ways)):
                time.sleep(PAUSE_S)
                found[way][tokens].append(half_busy(ways[way], one))
    return found


def summarise(blocks: dict[str, dict[int, list[Block]]]) -> dict[str, dict[int, dict[str, float]]]:
    """Return each way's medians by length, and sleeping's time to spinning's by the rounds' own ratios."""
    found = {
        way: {
            tokens: {
                key: round(statistics.median(value for block in of for value in block[key]), 3)
                for key in ("ms", "processor_ms")
            }
            for tokens, of in lengths.items()
        }
        for way, lengths in blocks.items()
    }
    for tokens, values in found[SLEEPING].items():
        both = zip(blocks[SLEEPING][tokens], blocks[SPINNING][tokens], strict=True)
        ratios = [statistics.median(ours["ms"]) / statistics.median(theirs["ms"]) for ours, theirs in both]
        values["to_spinning"] = round(statistics.median(ratios), 4)
    return found


def targets(idle: dict[str, list[float]], found: dict[str, dict[int, dict[str, float]]]) -> list[Target]:
    """Return the aims beside what was found, the length at which it is worst."""
    share = max(idle["stream"] + idle[SLEEPING]) / 1000 / IDLE_S
    ratio, worst = max((values["to_spinning"], tokens) for tokens, values in found[SLEEPING].items())
    return [
        Target(
            f"no processor time used between texts (less than {NO_CPU:.1%} of one)",
            f"{share:.2%}",
            share < NO_CPU,
        ),
        Target(
            f"at half duty at most {NO_WORSE} times the spinning session's time, at every length",
            f"{ratio:.2f}, at {worst}",
            ratio <= NO_WORSE,
        ),
    ]


def markdown(record: dict[str, Any], aims: Sequence[Target]) -> str:
    """Return the page's section."""
    model, found, idle = record["model"], record["found"], record["idle_ms"]
    shown = {"ms": "ms", "processor_ms": "processor ms"}
    rows = [
        [f"{NAMES[way]}: {name}", *(f"{values[key]:.2f}" for values in found[way].values())]
        for key, name in shown.items()
        for way in (SLEEPING, SPINNING)
    ]
    rows.append(["demur's ms to spinning's", *(f"{v['to_spinning']:.3f}" for v in found[SLEEPING].values())])
    worst = {way: max(values) for way, values in idle.items()}
    lines = [
        "## Does it rest between texts?\n",
        f"`{model['name']}` {model['version']} ({model['recipe']}), {record['threads']} threads. Processor time used "
        f"in {IDLE_S:g} s right after a text, the most of {IDLE_RUNS}: {worst[SLEEPING]:.2f} ms; after a stream, "
        f"{worst['stream']:.2f}; with threads that spin, {worst[SPINNING]:.2f}.\n",
        f"At half duty, medians of {record['rounds']} blocks of {BLOCK} texts; processor ms: all threads', from a text "
        "to the next one:\n",
        *table(["tokens", *map(str, found[SLEEPING])], rows),
        "",
        *targets_table(aims),
        "",
        common.machine_line(record["machine"]),
        "Raw: [idle.json](results/idle.json).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, write the results and the page's section, and print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of a session (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args()
    if min(options.threads, options.rounds) < 1:
        parser.error("--threads and --rounds: expected at least 1")
    bundle = _bundle.read(_bundle.find(options.model))
    model = demur.load(bundle.folder, threads=options.threads)
    # What is timed is the session, on ids made beforehand.
    longest = model.encode({"prompt": "", "response": REPLY * max(LENGTHS)})
    ids = {tokens: np.array([longest[:tokens]], np.int64) for tokens in LENGTHS}
    idle = {"stream": [idle_ms(lambda: list(model.stream([REPLY] * 40))) for _ in range(IDLE_RUNS)]}
    idle[SLEEPING] = [idle_ms(lambda: [model.check(REPLY * 8) for _ in range(20)]) for _ in range(IDLE_RUNS)]
    ways = {way: session(bundle, options.threads, way == SPINNING) for way in (SLEEPING, SPINNING)}
    idle[SPINNING] = [idle_ms(lambda: [ways[SPINNING](ids[64]) for _ in range(20)]) for _ in range(IDLE_RUNS)]
    blocks = duty(ways, ids, options.rounds)
    found = summarise(blocks)
    aims = targets(idle, found)
    record = {
        "machine": common.machine_record(),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256},
        "threads": options.threads,
        "rounds": options.rounds,
        "idle_ms": idle,
        "found": found,
        "targets": [aim.record() for aim in aims],
    }
    common.write_results("idle", record | {"blocks": blocks})
    section = markdown(record, aims)
    common.write_section("idle", section)
    print(section)


if __name__ == "__main__":
    main()
