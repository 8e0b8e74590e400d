"""How long does one text take, beside the same checkpoint served in other ways?

    python benchmarks/bench_latency.py --checkpoint FOLDER [--model NAME|FOLDER] [--lengths N ...] [--rounds N]
        [--threads N] [--data FOLDER]

Every peer judges the same rendered texts one at a time, in one process and in turn, each with the same threads. At
each turn it judges two texts, of which the second is timed: what a text takes that follows another. No text is timed
twice: what demur remembers of texts is the words of those before.
The texts are made of real conversations, trimmed by words until the tokenizer says that the length is exact.
"""

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import _cold
import _common as common
import _latency_page as page
import _near
import _peers
import _source
import _texts
from _latency_page import Samples
from _peers import DEMUR, Judge
from demur import _bundle
from demur._bundle import Bundle
from demur_export import checkpoint

MOST_ROUNDS, LEAST_ROUNDS, WARM_UP = 120, 10, 3
BUDGET_S, COLD_RUNS = 220.0, 5
NEAR_TEXTS = 40  # of each length, to compare answers on


def sample(
    judges: Mapping[str, Judge],
    texts: Mapping[int, Sequence[str]],
    rounds: int | None,
    seconds: float = BUDGET_S,
    least: int = LEAST_ROUNDS,
) -> Samples:
    """Time every peer on every length, round after round.

    Args:
        judges: Each peer's function of a text.
        texts: By length; each round takes the next one.
        rounds: How many; None for as many as `seconds` hold, from `least` to `MOST_ROUNDS`.
        seconds: Those of the warming up included.
        least: Rounds, however long they take.
    """
    samples: Samples = {name: {tokens: [] for tokens in texts} for name in judges}
    order, names = random.Random(common.SEED), list(judges)
    until = time.monotonic() + seconds
    # subtle: a full collection looks at all that torch and transformers hold and would fall on whoever is timed.
    gc.collect()
    gc.freeze()
    for i in range(-WARM_UP, MOST_ROUNDS if rounds is None else rounds):
        if rounds is None and i >= least and time.monotonic() > until:
            break
        for tokens, of_length in texts.items():
            before, text = of_length[(i - 1) % len(of_length)], of_length[i % len(of_length)]
            # Drawn anew, so that nobody always follows the one who leaves the machine worst.
            for name in order.sample(names, len(names)):
                # subtle: the others have emptied the caches. In use a text follows another, so each peer first judges
                # one that is not timed.
                judges[name](before)
                start = time.perf_counter()
                judges[name](text)
                took = time.perf_counter() - start
                if i >= 0:
                    samples[name][tokens].append(round(took * 1e3, 4))
    return samples


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FOLDER", help="what the bundle was made from"
    )
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 128, 256, 512], metavar="N", help="tokens")
    parser.add_argument("--rounds", type=int, metavar="N", help="by default as many as a few minutes hold")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of each peer (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args()
    if min(options.rounds or 1, options.threads) < 1:
        parser.error("--rounds and --threads: expected at least 1")
    return options


def run(options: argparse.Namespace, bundle: Bundle) -> tuple[Samples, dict[str, Any]]:
    """Build the peers, time them, and return the samples and what else there is to record."""
    pool = _texts.read_pool(options.data)
    count = WARM_UP + (options.rounds or MOST_ROUNDS)
    try:
        every = {
            tokens: _texts.exact(bundle, pool.rows, tokens, count + NEAR_TEXTS)
            for tokens in sorted(set(options.lengths))
        }
    except ValueError as error:
        raise SystemExit(f"error: --lengths: {error}") from error
    texts = {tokens: of_length[:count] for tokens, of_length in every.items()}
    fresh = [text for of_length in every.values() for text in of_length[count:]]
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder:
        timed = [text for of_length in texts.values() for text in of_length]
        judges, absent = _peers.build(options.checkpoint, bundle, options.threads, timed, Path(folder))
        _peers.check_ids(texts, judges, bundle)
        samples = sample(judges, texts, options.rounds)
        near = _near.measure(judges, fresh, bundle, checkpoint.read(options.checkpoint))
    seconds, not_started = _cold.measure(options.checkpoint, bundle, COLD_RUNS)
    return samples, {
        "lengths": list(texts),
        "threads": options.threads,
        "rounds": len(samples[DEMUR][min(texts)]),
        "int8_target": _peers.int8_target(),
        "texts": f"a new one each round, made of {pool.origin}",
        "absent": absent,
        "near": near,
        "cold_start": {"seconds": seconds, "absent": not_started},
    }


def main() -> None:
    """Measure, write the results, the plot and the page's section, and print the section."""
    options = parse()
    common.require("matplotlib")
    source = _source.record(options.checkpoint)
    bundle = _bundle.read(_bundle.find(options.model))
    if max(options.lengths) > bundle.max_tokens:
        raise SystemExit(f"error: --lengths: {bundle.name} reads {bundle.max_tokens} tokens at most")
    samples, facts = run(options, bundle)
    found = page.summarise(samples)
    record = {
        "machine": common.machine_record(*_peers.packages(samples)),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256},
        "checkpoint": source,
        **facts,
        "found": found,
    }
    aims = page.targets(samples, found, facts["cold_start"]["seconds"])
    common.write_results("latency", record | {"targets": [a.record() for a in aims], "samples_ms": samples})
    page.plot(samples)
    section = page.markdown(record, aims)
    common.write_section("latency", section)
    print(section)


if __name__ == "__main__":
    main()
