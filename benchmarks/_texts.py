"""Real conversations for the benchmarks that need no labels, of any length: short ones, long ones, and exact ones."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from _common import SEED, read_rows
from demur import Classifier
from demur._bundle import Bundle
from demur._template import Turn, render
from demur._tokenizer import Tokenizer
from demur_export.corpus import OWN

Row = dict[str, str]

SHORTEST_TOP, LONGEST_TOP = 32, 512
_MOST_JOINED = 40  # rows in one conversation
_TRIES = 20  # for each conversation that has to be joined


@dataclass(frozen=True)
class Pool:
    """Rows (`prompt`, `response`), and in words where they are from."""

    rows: list[Row]
    origin: str


@dataclass(frozen=True)
class Sample:
    """A conversation as messages, and the ids that the model reads.

    Attributes:
        top: The upper end of its bucket of lengths.
        joined: How many rows it is made of, one exchange each.
    """

    messages: list[dict[str, str]]
    ids: list[int]
    top: int
    joined: int


def read_pool(folder: Path) -> Pool:
    """Read all rows of a folder's `eval_*.jsonl.gz` and as many of its `train.jsonl.gz`, or else demur's own corpus."""
    files = sorted(folder.glob("eval_*.jsonl.gz"))
    if not files:
        print(f"{folder}: no eval_*.jsonl.gz there; texts come from demur's own corpus instead", file=sys.stderr)
        return Pool(own_rows(), "rows from demur's own corpus, for want of the labelled sets")
    rows = _exchanges(row for path in files for row in read_rows(path))
    origin = f"rows from {', '.join(path.name for path in files)}"
    if (folder / "train.jsonl.gz").exists():
        train = _exchanges(read_rows(folder / "train.jsonl.gz"))
        drawn = np.random.default_rng(SEED).choice(len(train), min(len(rows), len(train)), replace=False)
        rows += [train[i] for i in sorted(drawn)]
        origin += f", half of all from train.jsonl.gz (seed {SEED})"
    return Pool(rows, origin)


def own_rows() -> list[Row]:
    """Return the exchanges of demur's own corpus, which are there wherever demur is installed."""
    return _exchanges(read_rows(OWN))


def _exchanges(rows: Any) -> list[Row]:
    return [{key: row[key] for key in ("prompt", "response")} for row in rows if row["response"].strip()]


def buckets(model: Classifier) -> list[int]:
    """Return the upper ends of the buckets of lengths: doubling, up to what the model reads or `LONGEST_TOP`."""
    limit = min(model.max_tokens, LONGEST_TOP)
    tops = [SHORTEST_TOP]
    while tops[-1] * 2 <= limit:
        tops.append(tops[-1] * 2)
    return tops if tops[-1] == limit else [*tops, limit]


def draw(model: Classifier, rows: Sequence[Row], count: int) -> list[Sample]:
    """Draw conversations, as many from each bucket of lengths, shortest bucket first.

    Rows are taken as they are; a bucket of which there are too few gets conversations of several rows. What is
    too long for the model is elided to its limit, as for any user.

    Returns:
        `count` samples, or fewer where the rows don't yield them.
    """
    rng, tops = np.random.default_rng(SEED), buckets(model)
    found: dict[int, list[Sample]] = {top: [] for top in tops}
    wanted = {top: count // len(tops) + (i < count % len(tops)) for i, top in enumerate(tops)}
    for i in rng.permutation(len(rows)):
        if all(len(found[top]) == wanted[top] for top in tops):
            break
        sample = _sample(model, [rows[i]], tops)
        if sample and len(found[sample.top]) < wanted[sample.top]:
            found[sample.top].append(sample)
    for top in tops:
        for _ in range(_TRIES * (wanted[top] - len(found[top]))):
            if len(found[top]) == wanted[top]:
                break
            joined = _join(model, rows, rng, tops, top)
            if joined:
                found[top].append(joined)
    return [sample for top in tops for sample in found[top]]


def _sample(model: Classifier, picked: Sequence[Row], tops: Sequence[int]) -> Sample | None:
    messages = []
    for row in picked:
        messages += [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
    ids = model.encode(messages)
    top = next((top for top in tops if len(ids) <= top), None)
    return None if top is None else Sample(messages, ids, top, len(picked))


def _join(
    model: Classifier, rows: Sequence[Row], rng: np.random.Generator, tops: Sequence[int], top: int
) -> Sample | None:
    """Add exchange to exchange until the conversation is as long as the bucket asks, or too long."""
    picked = [rows[i] for i in rng.choice(len(rows), min(_MOST_JOINED, len(rows)), replace=False)]
    for k in range(2, len(picked) + 1):
        sample = _sample(model, picked[:k], tops)
        if sample is None or sample.top > top:
            return None
        if sample.top == top:
            return sample
    return None


def exact(bundle: Bundle, rows: Sequence[Row], tokens: int, count: int) -> list[str]:
    """Return rendered conversations that the bundle's tokenizer makes exactly `tokens` ids of, special ones included.

    Replies are put together from as many rows as it takes and trimmed by words; rows that miss are passed over.

    Raises:
        ValueError: The rows don't yield `count` of them.
    """
    tokenizer = Tokenizer(bundle.tokenizer.path)
    order = np.random.default_rng(SEED).permutation(len(rows))
    found = []
    for at in range(len(order)):
        picked = [rows[order[(at + k) % len(order)]] for k in range(min(_MOST_JOINED, len(order)))]
        text = _trim(bundle, tokenizer, picked, tokens)
        if text is not None:
            found.append(text)
        if len(found) == count:
            return found
    raise ValueError(f"{len(found)} texts of exactly {tokens} tokens could be made of {len(rows)} rows, not {count}")


def _trim(bundle: Bundle, tokenizer: Tokenizer, picked: Sequence[Row], tokens: int) -> str | None:
    prompt = "".join(_words(picked[0]["prompt"])[: max(2, tokens // 12)])
    # A word is a token at least, so no more words than tokens are of use.
    words = _words("\n\n".join(row["response"] for row in picked))[:tokens]

    def written(k: int) -> str:
        turns = [Turn("user", prompt), Turn("assistant", "".join(words[:k]))]
        return render(bundle.template.segments(turns))

    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(tokenizer.encode(written(middle))) <= tokens else (low, middle - 1)
    text = written(low)
    return text if len(tokenizer.encode(text)) == tokens else None


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+", text)
