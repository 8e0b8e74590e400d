"""The peers of `demur score`: a pipeline in `datasets.map`, JSONL in, JSONL out with a score for each row.

The pipelines are those of `_peers.py`, with one thread in each of the processes that `num_proc` makes. Both sorting
by length and the size of a batch are tried. transformers' documentation says of batches that on a CPU they seldom
pay, and nothing of sorting, which saves padding.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _peers
from _peers import INT8, TRANSFORMERS
from bench_many import rendered
from demur import _bundle

PEERS = (TRANSFORMERS, INT8)
# Batch sizes that are tried, each larger than one also with the rows sorted.
SIZES = (1, 8, 32)
TRIED = 64  # rows


@dataclass(frozen=True)
class Way:
    """How a pipeline is called.

    Attributes:
        size: Texts in a batch.
        sorted: Whether those that `datasets.map` hands over together are sorted by length before.
    """

    size: int = 1
    sorted: bool = False

    def __str__(self) -> str:
        return f"{self.size}{', sorted' * self.sorted}"


WAYS = [Way(size, by_length) for size in SIZES for by_length in (False, True)[: 1 + (size > 1)]]


class Peer:
    """One peer, its model loaded.

    Args:
        judge: A text classification pipeline of transformers or of optimum.

    Attributes:
        way: How it is called.
    """

    def __init__(self, judge: Callable[..., Any]) -> None:
        self._judge = judge
        self._bundle = _bundle.read(_bundle.find(None))
        self._refusal = self._bundle.labels[self._bundle.refusal]
        self.way = Way()

    def scores(self, rows: Sequence[Mapping[str, str]]) -> list[float]:
        """Return the probability of a refusal for each row."""
        texts = [rendered(self._bundle, row) for row in rows]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i])) if self.way.sorted else range(len(texts))
        judged = self._judge([texts[i] for i in order], batch_size=self.way.size, truncation=True, top_k=None)
        found = [0.0] * len(texts)
        for i, labels in zip(order, judged, strict=True):
            found[i] = next(label["score"] for label in labels if label["label"] == self._refusal)
        return found

    def trial(self, rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
        """Take the fastest of `WAYS` on some rows from here on, and return the seconds of each."""
        self.scores(rows[: SIZES[-1]])  # the first run is slower
        took = {}
        for self.way in WAYS:
            begun = time.perf_counter()
            self.scores(rows)
            took[self.way] = round(time.perf_counter() - begun, 3)
        self.way = min(took, key=lambda way: took[way])
        return {str(way): seconds for way, seconds in took.items()}


def build(name: str, checkpoint: Path, folder: Path) -> Peer:
    """Return one of `PEERS`.

    Args:
        name: Which.
        checkpoint: What the bundle was made from.
        folder: Where optimum's graphs are, and are written if they are not.
    """
    if name == TRANSFORMERS:
        return Peer(_peers.transformers_pipeline(checkpoint, 1))
    graph = folder / "int8" / "model_quantized.onnx"
    if not graph.is_file():
        graph = _peers.quantise(_peers.export(checkpoint, folder / "fp32"), graph.parent)
    return Peer(_peers.optimum_pipeline(checkpoint, graph, 1))


# subtle: `datasets.map` pickles its function, for the processes that it forks and for its cache's name. A function of
# a module is pickled by name, and finds here what its process had loaded before it was forked.
_loaded: list[Peer] = []


def _with_scores(batch: Mapping[str, list[str]]) -> dict[str, list[float]]:
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    return {"score": _loaded[0].scores(rows)}


def score_file(peer: Peer, source: Path, out: Path, processes: int) -> None:
    """Do the job: a JSONL file in, the same rows out with their scores."""
    import datasets

    _loaded[:] = [peer]
    rows = datasets.Dataset.from_json(str(source), cache_dir=str(out.with_suffix(".cache")))
    scored = rows.map(
        _with_scores, batched=True, num_proc=processes if processes > 1 else None, load_from_cache_file=False
    )
    scored.to_json(str(out))
