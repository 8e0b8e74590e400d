"""How many texts a second, of many real conversations, beside the same checkpoint served in other ways?

    python benchmarks/bench_many.py --checkpoint FOLDER [--model NAME|FOLDER] [--data FOLDER] [--texts N]

Every peer has all cores that are granted; demur takes them as workers. The conversations are dealt out in blocks, and
each block goes through every peer at every batch size before the next one, in an order drawn anew. Peers get the
conversations as rendered texts, demur gets the rows. Texts longer than the model reads are cut off by the peers and
elided by demur, which gives them the same number of tokens.
"""

import argparse
import gc
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import _common as common
import _many_page as page
import _peers
import _source
import _texts
import demur
from _many_page import BATCHES, ENCODE, Samples
from _peers import Judge
from demur import Classifier, _bundle, _machine
from demur._bundle import Bundle
from demur._template import Turn, render
from demur._tokenizer import Tokenizer

# Two batches of the largest size.
BLOCK = 64


def rendered(bundle: Bundle, row: Mapping[str, str]) -> str:
    """Return a row as the one string that the model was trained on."""
    turns = [Turn(role, row[key]) for role, key in (("user", "prompt"), ("assistant", "response")) if row[key]]
    return render(bundle.template.segments(turns))


def runners(bundle: Bundle, judges: Mapping[str, Judge], cores: int) -> dict[str, Callable[[Sequence[Any]], object]]:
    """Return what judges a block, by name: demur's take its rows, the others its texts.

    demur's have a classifier each, since one remembers the words of texts that it has read.
    """

    def stream(model: Classifier, workers: int, rows: Sequence[Any]) -> object:
        return list(model.stream(rows, workers=workers))

    def encode(model: Classifier, rows: Sequence[Any]) -> object:
        return [model.encode(row) for row in rows]

    def batched(judge: Callable[..., object], size: int, texts: Sequence[str]) -> object:
        return judge(texts, batch_size=size, truncation=True)

    made: dict[str, Callable[[Sequence[Any]], object]] = {
        page.named(name, size): partial(batched, judges[name], size)
        for name in page.PEERS
        if name in judges
        for size in BATCHES
    }
    for workers in dict.fromkeys((1, cores)):
        made[page.workers(workers)] = partial(stream, demur.load(bundle.folder), workers)
    return made | {ENCODE: partial(encode, demur.load(bundle.folder))}


def sample(
    judging: Mapping[str, Callable[[Sequence[Any]], object]], rows: Sequence[Any], texts: Sequence[str]
) -> Samples:
    """Time every runner on every block after one that is not counted; demur's and `ENCODE` get rows.

    Returns:
        Seconds by runner and block.
    """
    samples: Samples = {name: [] for name in judging}
    order, names = random.Random(common.SEED), list(judging)
    gc.collect()
    gc.freeze()
    for start in range(-BLOCK, len(texts), BLOCK):
        # The block before the first is the last one, whole.
        block = slice(start, start + BLOCK) if start >= 0 else slice(start, None)
        for name in order.sample(names, len(names)):
            of_block = (rows if name == ENCODE or name.startswith(_peers.DEMUR) else texts)[block]
            begun = time.perf_counter()
            judging[name](of_block)
            took = time.perf_counter() - begun
            if start >= 0:
                samples[name].append(round(took, 5))
    return samples


def parse() -> argparse.Namespace:
    """Return the command's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="FOLDER", help="what the bundle was made from"
    )
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    parser.add_argument("--texts", type=int, default=512, metavar="N", help="conversations (default: %(default)s)")
    options = parser.parse_args()
    if options.texts < 1:
        parser.error(f"--texts {options.texts}: expected at least 1")
    return options


def main() -> None:
    """Measure, write the results, the plot and the page's section, and print the section."""
    options = parse()
    common.require("matplotlib", "torch", "transformers")
    source = _source.record(options.checkpoint)
    bundle, cores = _bundle.read(_bundle.find(options.model)), _machine.cores()
    pool = _texts.read_pool(options.data)
    # No row twice: a word that was met is remembered, so a repeated text would be read faster than real ones are.
    drawn = np.random.default_rng(common.SEED).permutation(len(pool.rows))[: options.texts]
    rows = [pool.rows[i] for i in drawn]
    texts = [rendered(bundle, row) for row in rows]
    model = demur.load(bundle.folder)
    ids, tokenizer = [model.encode(row) for row in rows], Tokenizer(bundle.tokenizer.path)
    with tempfile.TemporaryDirectory(prefix="demur-bench-") as folder:
        judges, absent = _peers.build(options.checkpoint, bundle, cores, (), Path(folder), page.PEERS)
        for text, read in zip(texts, ids, strict=True):
            if len(tokenizer.encode(text)) <= bundle.max_tokens:
                _peers.same_ids(text, read, judges)
        samples = sample(runners(bundle, judges, cores), rows, texts)
    record = {
        "machine": common.machine_record(*_peers.packages(judges)),
        "model": {"name": bundle.name, "version": bundle.version, "recipe": bundle.recipe}
        | {"sha256": bundle.model.sha256},
        "checkpoint": source,
        "cores": cores,
        "int8_target": _peers.int8_target(),
        "texts": {"count": len(rows), "origin": pool.origin, "tokens": [len(read) for read in ids]},
        "block": BLOCK,
        "absent": absent,
        "found": page.rates(samples, len(rows)),
    }
    aims = page.targets(samples, cores)
    common.write_results("many", record | {"targets": [aim.record() for aim in aims], "samples_s": samples})
    page.plot(record["found"])
    section = page.markdown(record, aims)
    common.write_section("many", section)
    print(section)


if __name__ == "__main__":
    main()
