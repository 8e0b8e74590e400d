"""Labelled conversations to examples: what is picked, how far each label is trusted, how rows become token ids."""

import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
    "authored": 1.0,
    "assumed-compliant": 0.8,
    "assumed-refusal+regex": 0.8,
    "keyword": 0.6,
}

# The most rows (answers, refusals) taken of a language; the most trusted labels come first.
CAPS = {"en": (6000, 3800), "ko": (3400, 4600), "ja": (1500, 900), "ru": (800, 493), "zh": (723, 900)}
OTHER_CAP = (900, 700)
SCARCE = 200  # where a language has fewer answers than this, they are repeated, and refusals are held to twice as many
GPTFUZZ_CAP = 1200  # rows of one jailbreak collection, all alike

# Digests of rows whose labels are probably wrong (`suspects.py`).
SUSPECTS = Path(__file__).parent / "suspects.json"
AUTHORED = Path(__file__).parent / "authored" / "train"
# The next three after those that are kept for evaluation, by the sha256 of their names.
VALIDATION_TOPICS = {"weapons", "politics", "sports"}

# Authored kinds whose replies tell by themselves whether they refuse, if they have so many characters.
ALONE = {
    *("short-answer", "help-after-apology", "caveat", "harmful-sounding", "long-with-no"),
    *("no-stock", "soft", "late", "plain", "cannot", "no-prompt"),
}
LEAST_ALONE = 50

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
    system: str = ""
    earlier: tuple[Turn, ...] = ()
    keeps_prompt: bool = False  # without its prompt the label would be in doubt
    topic: str = ""

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
    kind, response = raw.get("kind"), raw["response"]
    return Row(
        raw["prompt"] or "",
        response,
        raw["label"],
        raw.get("label_kind", "authored"),
        raw.get("lang", "en"),
        raw.get("system", ""),
        tuple(Turn(**turn) for turn in raw.get("earlier", ())),
        kind is not None and (kind not in ALONE or len(response) < LEAST_ALONE),
        raw.get("topic", ""),
    )


def read_authored() -> tuple[list[Row], list[Row]]:
    """Return the authored rows for training, and those of the topics that validate and calibrate."""
    rows = [row for path in sorted(AUTHORED.glob("*.jsonl")) for row in read(path)]
    return [r for r in rows if r.topic not in VALIDATION_TOPICS], [r for r in rows if r.topic in VALIDATION_TOPICS]


def digest(row: Row) -> str:
    """Return what names a row without its text: 16 hexadecimal digits."""
    return hashlib.sha256(f"{row.prompt}\0{row.response}".encode()).hexdigest()[:16]


def fold_of(row: Row, folds: int) -> int:
    """Return the fold of a row, 0 to `folds` - 1, the same for all rows of a prompt."""
    return int.from_bytes(hashlib.sha256((row.prompt or row.response).encode()).digest()[4:8], "big") % folds


def split(rows: Iterable[Row], share: float = 0.02) -> tuple[list[Row], list[Row]]:
    """Split rows into training and validation by a hash of the prompt, so that no prompt is on both sides."""
    train, validation = [], []
    for row in rows:
        digest = int.from_bytes(hashlib.sha256((row.prompt or row.response).encode()).digest()[:4], "big")
        (validation if digest / 2**32 < share else train).append(row)
    return train, validation


def pick(rows: Iterable[Row], rng: random.Random, share: float = 1.0) -> list[Row]:
    """Take rows of every language up to a share of its cap, the most trusted labels first, suspect ones left out."""
    suspects = set(json.loads(SUSPECTS.read_text(encoding="utf-8")))
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in (row for row in rows if digest(row) not in suspects):
        groups[row.lang, row.label].append(row)
    picked = []
    for (lang, label), group in sorted(groups.items()):
        rng.shuffle(group)
        jailbreaks = [row for row in group if row.kind == "human+regex"][GPTFUZZ_CAP // 2 :]
        dropped = {id(row) for row in jailbreaks}
        # Long refusals are rare but what the model is asked about: they come first more often than not.
        order = [row for row in group if id(row) not in dropped]
        order.sort(key=lambda row: rng.random() ** (2 if row.label and len(row.response) > 400 else 1))
        trusted = sorted(order, key=lambda row: -row.weight)
        cap = CAPS.get(lang, OTHER_CAP)[label]
        answers = len(groups[lang, 0])
        if answers < SCARCE:
            trusted = (trusted * (1 + SCARCE // answers))[:SCARCE] if label == 0 else trusted[: 2 * SCARCE]
        picked += trusted[: int(cap * share)]
    return picked


def turns_of(row: Row) -> list[Turn]:
    """Return a row as it stands."""
    system = [Turn("system", row.system)] if row.system else []
    turns = [*system, *row.earlier, Turn("user", row.prompt), Turn("assistant", row.response)]
    return [turn for turn in turns if turn.content.strip()]


def vary(rows: list[Row], rng: random.Random) -> Iterator[tuple[list[Turn], Row]]:
    """Write rows as conversations: some without the prompt, some with a system prompt or older turns before them."""
    for row in rows:
        turns = turns_of(row)
        if not row.keeps_prompt and rng.random() < 0.3:
            turns = turns[-1:]
        elif row.prompt and not row.system and not row.earlier:
            if rng.random() < 0.06:
                other = rng.choice(rows)
                turns[:0] = [Turn("user", other.prompt), Turn("assistant", other.response)]
            if rng.random() < 0.06:
                turns.insert(0, Turn("system", rng.choice(SYSTEM_PROMPTS)))
        yield turns, row


def encode(turns: list[Turn], tokenizer: Tokenizer, max_tokens: int) -> list[int]:
    """Return a conversation's token ids exactly as the runtime makes them."""
    neutralise = Neutraliser([*TEMPLATE.markers, *tokenizer.special.keys() - {TEMPLATE.ellipsis}])
    safe = [Turn(role, neutralise(content)) for role, content in turns]
    return fit(TEMPLATE.segments(safe), tokenizer, max_tokens, TEMPLATE.ellipsis).ids


def examples(rows: list[Row], tokenizer: Tokenizer, budgets: Sequence[int], rng: random.Random) -> list[Example]:
    """Encode rows, varied, each at one of the token `budgets`."""
    return [
        Example(encode(turns, tokenizer, rng.choice(budgets)), row.label, row.weight) for turns, row in vary(rows, rng)
    ]


def batches(items: list[Example], tokens: int, rng: random.Random) -> list[list[Example]]:
    """Batches of similar lengths, of at most 64 rows and `tokens` tokens with padding, in random order."""
    groups: list[list[Example]] = [[]]
    for item in sorted(items, key=lambda item: len(item.ids) + rng.random() * 16, reverse=True):
        if len(groups[-1]) == 64 or (groups[-1] and (len(groups[-1]) + 1) * len(groups[-1][0].ids) > tokens):
            groups.append([])
        groups[-1].append(item)
    rng.shuffle(groups)
    return groups
