"""Varies the length and the form of collected responses, so that neither tells an answer from a refusal.

Without this length and the mark of a cut give the label away: the collected answers in most languages are cut at 300
characters, with the mark at their end, and the refusals are whole. So does formatting: answers have headings and bold
type, refusals seldom.
"""

import json
import random
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data import TEMPLATE, Row

_FORMATTING = re.compile(r"\*\*|^#+ ", re.MULTILINE)
_SENTENCES = re.compile(r"\n+|(?<=[.!?。])\s*(?=\D)")
_ENDS = re.compile(r"\n+|[.!?。] ")

# How often an answer or a refusal is cut short, or made longer with others of its language and label. Some rows lose
# their formatting, some become lists, and refusals get what follows the opening of another answer.
CUT = (0.35, 0.25)
EXTENDED = (0.5, 0.4)
PLAIN = 0.3
LAID_OUT = 0.15

# Apologies, disclaimers and advice that decline nothing, by language. Refusals are full of them, so answers get some
# too: it is what they stand beside that counts.
ASIDES: dict[str, list[str]] = json.loads((Path(__file__).parent / "asides.json").read_text(encoding="utf-8"))
WITH_ASIDES = (0.45, 0.12)
# Offers of more help, questions back and wishes, with which either ends. Collected refusals have them oftener.
ENDINGS: dict[str, list[str]] = json.loads((Path(__file__).parent / "endings.json").read_text(encoding="utf-8"))
WITH_ENDINGS = (0.25, 0.12)
LEAST_CUT = (12, 90)  # characters that a cut answer or refusal keeps at the least
LONG = 2200  # characters; nothing is made longer than this


def reshape(rows: list[Row], rng: random.Random) -> list[Row]:
    """Cut some responses short, lengthen others and take formatting away, so that none of this tells the label."""
    pool: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in rows:
        pool[row.lang, row.label].append(_bare(row.response))
    return [_reshape(row, pool, rng) for row in rows]


def _reshape(row: Row, pool: Mapping[tuple[str, int], list[str]], rng: random.Random) -> Row:
    text = _bare(row.response)
    chance = rng.random()
    if chance < CUT[row.label] and len(text) > LEAST_CUT[row.label]:
        text = _cut(text, LEAST_CUT[row.label], rng)
        if rng.random() < 0.25:
            text += f" {TEMPLATE.ellipsis} "
    elif chance < CUT[row.label] + EXTENDED[row.label]:
        length = rng.randint(300, LONG)
        # What follows a refusal is the end of another one, or of an answer to something else; not a second opening.
        others = pool[row.lang, rng.randint(0, 1) if row.label else 0] or [text]
        while len(text) < length:
            other = rng.choice(others)
            text += "\n\n" + (_later(other, rng) if row.label else other)
        text = text[: max(length, len(_bare(row.response)))]
    if rng.random() < PLAIN:
        text = _FORMATTING.sub("", text)
    elif rng.random() < LAID_OUT:
        text = _lay_out(text, rng)
    while row.lang in ASIDES and rng.random() < WITH_ASIDES[row.label]:
        text = _interject(text, rng.choice(ASIDES[row.lang]), rng)
    return close(replace(row, response=text), rng)


def close(row: Row, rng: random.Random) -> Row:
    """Return a row whose response may have an ending that neither answers nor declines."""
    if row.lang not in ENDINGS or rng.random() >= WITH_ENDINGS[row.label]:
        return row
    space = rng.choice(["" if row.lang in ("ja", "zh") else " ", "\n\n"])
    return replace(row, response=f"{row.response.rstrip()}{space}{rng.choice(ENDINGS[row.lang])}")


def _lay_out(text: str, rng: random.Random) -> str:
    """Return a text whose sentences, from one of the first on, are items of a list under a heading or without one."""
    sentences = [s.strip() for s in _SENTENCES.split(text) if s.strip()]
    first = rng.randint(1, 3)
    if len(sentences) < first + 2:
        return text
    opening, rest = sentences[:first], sentences[first:]
    mark = rng.choice(["{}. ", "- ", "* ", "{}. **", "### {}. ", "• "])
    close = "**" if mark.endswith("**") else ""
    last = rng.randint(2, len(rest))
    items = [f"{mark.format(i)}{s}{close}" for i, s in enumerate(rest[:last], 1)]
    return " ".join(opening) + "\n\n" + "\n".join(items) + "\n\n" + " ".join(rest[last:])


def _interject(text: str, aside: str, rng: random.Random) -> str:
    """Return a text with an aside at its beginning, at its end or behind a sentence."""
    place = rng.random()
    if place < 0.3:
        return f"{aside} {text}"
    found = _ENDS.search(text, int(len(text) * rng.random())) if place < 0.6 else None
    return f"{text[: found.end()]}{aside} {text[found.end() :]}" if found else f"{text} {aside}"


def _later(text: str, rng: random.Random) -> str:
    """Return what follows a line's or a sentence's end somewhere in the first half of a text."""
    found = _ENDS.search(text, int(len(text) * rng.uniform(0.1, 0.5)))
    return text[found.end() :] if found and found.end() < len(text) else text[len(text) // 2 :]


def _bare(response: str) -> str:
    """Return a response without the mark of a cut at its end."""
    return response.strip().removesuffix(TEMPLATE.ellipsis).strip()


def _cut(text: str, least: int, rng: random.Random) -> str:
    """Return the beginning of a text, of random length (log-uniform), ending between words where it has spaces."""
    length = int(least * (len(text) / least) ** rng.random())
    end = text.rfind(" ", least, length)
    return text[: end if end > 0 else length]
