"""Compares all sides of one stand-in with PyTorch and times them, in a process of its own.

    python _models_measure.py ASKED

prints a JSON object; ASKED is one too, of the arguments of `measure`.
"""

import gc
import json
import random
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from _models_sides import DEMUR, INT8, ROW, TORCH, Ids, Logits, Side, opened, texts
from demur_export import checkpoint as checkpoints
from demur_export import parity, pipeline
from demur_export.reference import torch_logits

Samples = dict[str, dict[int, list[float]]]  # milliseconds by side, length and round

MOST_ROUNDS, LEAST_ROUNDS = 40, 3
# Up to this length each side first runs a text that isn't timed, since the others have emptied the caches.
PRIMED = 512


def measure(
    checkpoint: str, bundle: str, made: Mapping[str, str], lengths: Sequence[int], budget: float, count: int
) -> dict[str, Any]:
    """Compare all sides with PyTorch on the gate's texts that no recipe was calibrated on, then time them in turn.

    Args:
        checkpoint: The stand-in.
        bundle: Made of it.
        made: Graphs by side.
        lengths: Tokens of the texts that are timed.
        budget: Seconds for each length.
        count: Of the gate's texts, how many to compare on at most; from all over them if they are more.
    """
    read = texts(Path(bundle))
    unseen = read[pipeline._UNSEEN]
    count = min(count, len(unseen))
    unseen = [unseen[i * len(unseen) // count] for i in range(count)]
    source = checkpoints.read(Path(checkpoint))
    reference = torch_logits(source, unseen)
    near, sides = {}, {}
    for side, path in made.items():
        # A recipe that the bundle is of runs as the bundle.
        if side != DEMUR and path == made[DEMUR]:
            near[side] = near[DEMUR]
            continue
        run = opened(side, Path(path))
        near[side] = nearness(np.concatenate([run(ids) for ids in unseen]), reference, source.refusal)
        if side in (DEMUR, ROW, INT8):
            sides[side] = run
    sides[TORCH] = opened(TORCH, Path(checkpoint))
    samples = timed(sides, {tokens: of_length(read, tokens, MOST_ROUNDS + 1) for tokens in lengths}, budget)
    return {"near": near, "samples_ms": samples[0], "elapsed_ms": samples[1]}


def nearness(found: Logits, reference: Logits, refusal: int) -> dict[str, Any]:
    """Return the gate's figures of logits `[texts, 2]`, and the noise of their difference over its spread.

    That is the standard deviation of (found's difference of the two logits minus the reference's), over the standard
    deviation of the reference's.
    """
    gaps = [logits[:, refusal].astype(np.float64) - logits[:, 1 - refusal] for logits in (found, reference)]
    noise = float(np.std(gaps[0] - gaps[1]) / np.std(gaps[1]))
    return parity.compare(found, reference, refusal).record() | {"noise": noise}


def of_length(read: Sequence[Ids], tokens: int, count: int) -> list[Ids]:
    """Return `count` different texts `[1, tokens]`: what is inside real ones, one after the other, in their frame."""
    inside = np.concatenate([ids[0, 1:-1] for ids in read])
    inside = np.tile(inside, -(-2 * tokens // len(inside)))
    first, last = read[0][0, :1], read[0][0, -1:]
    starts = np.linspace(0, len(inside) - tokens, count).astype(int)
    return [np.concatenate([first, inside[at : at + tokens - 2], last])[None] for at in starts]


def timed(sides: Mapping[str, Side], given: Mapping[int, Sequence[Ids]], budget: float) -> tuple[Samples, Samples]:
    """Time every side on every length, round after round in an order drawn anew, within `budget` seconds a length.

    Rounds at the least: `LEAST_ROUNDS`, or one where that alone takes longer than the budget.

    Returns:
        Milliseconds of the processor and by the clock: by side, length and round.
    """
    used: Samples = {side: {tokens: [] for tokens in given} for side in sides}
    elapsed: Samples = {side: {tokens: [] for tokens in given} for side in sides}
    order, names = random.Random(20), list(sides)
    # subtle: a full collection looks at all that torch and transformers hold and would fall on whoever is timed.
    gc.collect()
    gc.freeze()
    for tokens, read in given.items():
        start = time.perf_counter()
        for i in range(1, len(read)):
            spent = time.perf_counter() - start
            if spent > budget and i > (LEAST_ROUNDS if spent < budget * LEAST_ROUNDS else 1):
                break
            for side in order.sample(names, len(names)):
                if tokens <= PRIMED:
                    sides[side](read[i - 1])
                # subtle: every side computes in this very thread, so that its processor time is what the run takes on
                # a machine that does nothing else.
                begun, at = time.thread_time(), time.perf_counter()
                sides[side](read[i])
                used[side][tokens].append(round((time.thread_time() - begun) * 1e3, 4))
                elapsed[side][tokens].append(round((time.perf_counter() - at) * 1e3, 4))
    return used, elapsed


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
