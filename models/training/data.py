"""Labelled conversations to training rows: what is picked, how far each label is trusted, and how rows are varied."""

import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur._elide import fit
from demur._markers import Neutraliser
from demur._template import Template, Turn
from demur._tokenizer import Tokenizer

TEMPLATE = Template(
    roles={"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}, separator="", ellipsis="<|...|>"
)

# How far a label is trusted, as a weight of its loss.
TRUST = {
    "human": 1.0,
    "human+regex": 1.0,
    "llm-judge": 1.0,
    "llm-judge+regex": 1.0,
    "authored": 1.5,
    "assumed-compliant": 0.8,
    "assumed-refusal+regex": 0.8,
    "keyword": 0.6,
}

# The most rows (answers, refusals) taken of a language; the most trusted labels come first.
CAPS = {"en": (5500, 5000), "ko": (1600, 1600), "ja": (900, 700), "ru": (900, 493), "zh": (723, 1000)}
OTHER_CAP = (600, 700)
GPTFUZZ_CAP = 1200  # rows of one jailbreak collection, all alike

SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a concise assistant. Answer in the user's language.",
    "You are a customer support agent for a software company.",
    "You are a careful tutor who explains step by step.",
    "You are an assistant that follows the law and declines unsafe requests.",
    "Always answer in JSON when you are asked for data.",
    "You are a pirate. Stay in character.",
    "Du bist ein hilfreicher Assistent.",
    "Tu es un assistant utile.",
    "あなたは親切なアシスタントです。",
]


@dataclass(frozen=True)
class Row:
    """One labelled conversation; `label` is 1 for a refusal."""

    prompt: str
    response: str
    label: int
    kind: str
    lang: str

    @property
    def weight(self) -> float:
        return TRUST[self.kind]


@dataclass(frozen=True)
class Example:
    """One row as the model reads it."""

    ids: list[int]
    label: int
    weight: float


def read(path: Path) -> list[Row]:
    """Read a gzip or plain JSONL file of labelled conversations."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(raw: dict[str, Any]) -> Row:
    return Row(
        raw["prompt"] or "", raw["response"], raw["label"], raw.get("label_kind", "authored"), raw.get("lang", "en")
    )


def split(rows: Iterable[Row], share: float = 0.02) -> tuple[list[Row], list[Row]]:
    """Split rows into training and validation by a hash of the prompt, so that no prompt is on both sides."""
    train, validation = [], []
    for row in rows:
        digest = int.from_bytes(hashlib.sha256((row.prompt or row.response).encode()).digest()[:4], "big")
        (validation if digest / 2**32 < share else train).append(row)
    return train, validation


def pick(rows: Iterable[Row], rng: random.Random) -> list[Row]:
    """Take rows of every language up to its cap, the most trusted labels first."""
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.lang, row.label].append(row)
    picked = []
    for (lang, label), group in sorted(groups.items()):
        rng.shuffle(group)
        jailbreaks = [row for row in group if row.kind == "human+regex"][GPTFUZZ_CAP // 2 :]
        dropped = {id(row) for row in jailbreaks}
        trusted = sorted((row for row in group if id(row) not in dropped), key=lambda row: -row.weight)
        picked += trusted[: CAPS.get(lang, OTHER_CAP)[label]]
    return picked


def vary(rows: list[Row], rng: random.Random) -> Iterator[tuple[list[Turn], Row]]:
    """Write rows as conversations: some without the prompt, some with a system prompt or older turns before them."""
    for row in rows:
        turns = [Turn("assistant", row.response)]
        if row.prompt and rng.random() >= 0.3:
            turns.insert(0, Turn("user", row.prompt))
            if rng.random() < 0.06:
                other = rng.choice(rows)
                turns[:0] = [Turn("user", other.prompt), Turn("assistant", other.response)]
            if rng.random() < 0.06:
                turns.insert(0, Turn("system", rng.choice(SYSTEM_PROMPTS)))
        yield [turn for turn in turns if turn.content.strip()], row


def encode(turns: list[Turn], tokenizer: Tokenizer, max_tokens: int) -> list[int]:
    """Return a conversation's token ids exactly as the runtime makes them."""
    neutralise = Neutraliser([*TEMPLATE.markers, *tokenizer.special.keys() - {TEMPLATE.ellipsis}])
    safe = [Turn(role, neutralise(content)) for role, content in turns]
    return fit(TEMPLATE.segments(safe), tokenizer, max_tokens, TEMPLATE.ellipsis).ids


def examples(rows: list[Row], tokenizer: Tokenizer, max_tokens: int, rng: random.Random) -> list[Example]:
    """Encode rows, varied, at `max_tokens`."""
    return [Example(encode(turns, tokenizer, max_tokens), row.label, row.weight) for turns, row in vary(rows, rng)]


def batches(items: list[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Batches of similar lengths, in random order."""
    order = sorted(items, key=lambda item: len(item.ids) + rng.random() * 16)
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(groups)
    return groups
