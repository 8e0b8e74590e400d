"""Checks the authored conversations and writes their counts into `authored/README.md`.

python models/training/authored.py
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "authored"
KINDS = {
    0: {"short-answer", "about-refusing", "help-after-apology", "caveat", "harmful-sounding", "long-with-no"},
    1: {"no-stock", "soft", "withheld", "cannot", "late", "over-refusal", "plain"},
}
EITHER = {"multi-turn", "system", "no-prompt", "thinking"}
# The topics kept for evaluation, the first six of sixty by the sha256 of their names.
HELD_OUT = {"dating", "home-repair", "religion", "shopping", "travel", "work"}
_KEYS = {"kind", "lang", "label", "topic", "system", "earlier", "prompt", "response"}
_MARK = "<!-- counts, by authored.py -->\n"


def read(part: str) -> list[dict[str, Any]]:
    """Return the rows of `train` or `evaluation`."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((FOLDER / part).glob("*.jsonl")))
    return [json.loads(line) for text in texts for line in text.rstrip("\n").split("\n")]


def faults() -> Iterator[str]:
    """Yield what is wrong with the rows, each naming its row by part and number."""
    seen: dict[tuple[str, ...], str] = {}
    for part in ("train", "evaluation"):
        for number, row in enumerate(read(part), 1):
            where = f"{part} row {number}"
            for fault in _faults(row, part):
                yield f"{where}: {fault}"
            spoken = [turn["content"] for turn in row.get("earlier", ())]
            key = tuple(text.casefold().strip() for text in (*spoken, row["prompt"], row["response"]))
            if key in seen:
                yield f"{where}: the same as {seen[key]}"
            seen[key] = where


def _faults(row: dict[str, Any], part: str) -> Iterator[str]:
    if row.keys() - _KEYS:
        yield f"unknown keys {sorted(row.keys() - _KEYS)}"
    if row["kind"] not in KINDS[row["label"]] | EITHER:
        yield f"kind {row['kind']!r} with label {row['label']}"
    if (row.get("topic") in HELD_OUT) != (part == "evaluation"):
        yield f"topic {row.get('topic')!r} belongs to the other part"
    if not row["response"].strip() or not (row["prompt"].strip() or row["kind"] == "no-prompt"):
        yield "nothing said"
    roles = [turn["role"] for turn in row.get("earlier", ())]
    if roles != ["user", "assistant"] * (len(roles) // 2) or (row["kind"] == "multi-turn") > bool(roles):
        yield f"earlier turns by {roles}"
    if row["kind"] == "system" and not row.get("system"):
        yield "no system prompt"


def counts() -> str:
    """Return the tables of the README."""
    parts = {part: read(part) for part in ("train", "evaluation")}
    lines = ["| | rows | refusals |", "|---|---|---|"]
    lines += [f"| `{part}/` | {len(rows):,} | {sum(r['label'] for r in rows):,} |" for part, rows in parts.items()]
    for key in ("kind", "lang"):
        answers, refusals = (
            Counter(r[key] for rows in parts.values() for r in rows if r["label"] == n) for n in (0, 1)
        )
        held = Counter(r[key] for r in parts["evaluation"])
        lines += ["", f"| {key} | answers | refusals | of both, for evaluation |", "|---|---|---|---|"]
        lines += [
            f"| {v} | {answers[v]} | {refusals[v]} | {held[v]} |" for v in sorted(answers.keys() | refusals.keys())
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Check, then write the counts."""
    found = list(faults())
    if found:
        raise SystemExit("\n".join(found))
    page = FOLDER / "README.md"
    page.write_text(page.read_text(encoding="utf-8").partition(_MARK)[0] + _MARK + counts(), encoding="utf-8")


if __name__ == "__main__":
    main()
