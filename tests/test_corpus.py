"""Demur's own conversations are many, mixed, and alike in what calibrates and what judges; a user's are added."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from demur.errors import CheckpointError
from demur_export import corpus

# fmt: off
LANGUAGES = [
    "ar", "de", "en", "es", "fr", "hi", "id", "it", "ja", "ko", "nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh",
]
# fmt: on
ROWS: list[dict[str, Any]] = [json.loads(line) for line in corpus.OWN.read_text(encoding="utf-8").splitlines()]
HALVES = {"calibrating": ROWS[::2], "judging": ROWS[1::2]}

halves = pytest.mark.parametrize("rows", HALVES.values(), ids=list(HALVES))


def share(rows: list[dict[str, Any]], least: int, most: int = 1 << 30) -> float:
    return sum(least <= len(row["response"]) < most for row in rows) / len(rows)


def kinds(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(
        "turns" if "messages" in row else "system" if "system" in row else "exchange" if row["prompt"] else "reply"
        for row in rows
    )


def write(path: Path, replies: list[str]) -> Path:
    path.write_text("".join(json.dumps({"prompt": "", "response": reply}) + "\n" for reply in replies))
    return path


def test_there_are_several_hundred_and_no_two_are_alike() -> None:
    assert len(ROWS) >= 400
    assert len(ROWS) % 2 == 0, "a user's texts, added to these, would change which of these calibrate"
    assert len({row["response"].strip().casefold() for row in ROWS}) == len(ROWS)
    prompts = [row["prompt"].strip().casefold() for row in ROWS if row["prompt"]]
    assert len(set(prompts)) == len(prompts)


def test_no_two_replies_share_a_long_passage() -> None:
    seen: dict[str, int] = {}
    for i, row in enumerate(ROWS):
        text = " ".join(row["response"].split())
        for start in range(max(1, len(text) - 79)):
            part = text[start : start + 80]
            assert len(part) < 80 or seen.setdefault(part, i) == i, part


def test_every_row_has_an_exchange_and_a_language() -> None:
    for row in ROWS:
        assert row.keys() - {"messages", "system"} == {"prompt", "response", "lang"}
        assert row["response"].strip()
        assert row["lang"] in LANGUAGES


def test_the_exchange_of_a_longer_conversation_is_its_last() -> None:
    longer = [row for row in ROWS if "messages" in row]
    assert len(longer) >= 10
    for row in longer:
        assert [message["role"] for message in row["messages"][-2:]] == ["user", "assistant"]
        assert [message["content"] for message in row["messages"][-2:]] == [row["prompt"], row["response"]]
        assert len(row["messages"]) > 3


@halves
def test_both_halves_have_half_english_and_some_of_every_language(rows: list[dict[str, Any]]) -> None:
    found = Counter(row["lang"] for row in rows)
    assert sorted(found) == LANGUAGES
    assert 0.45 <= found["en"] / len(rows) <= 0.55
    assert min(found.values()) >= 4


@halves
def test_both_halves_have_short_replies_and_long_ones(rows: list[dict[str, Any]]) -> None:
    assert 0.3 <= share(rows, 0, 350) <= 0.45
    assert 0.25 <= share(rows, 350, 1400) <= 0.4
    assert 0.25 <= share(rows, 1400) <= 0.4
    assert share(rows, 3000) >= 0.03
    assert share(rows, 5000) > 0
    for lang in LANGUAGES:
        assert len({len(row["response"]) > 350 for row in rows if row["lang"] == lang}) == 2, lang


@halves
def test_both_halves_have_every_shape(rows: list[dict[str, Any]]) -> None:
    found = kinds(rows)
    assert min(found["turns"], found["system"], found["reply"]) >= 4
    assert found["exchange"] >= 150


def test_neither_lengths_nor_languages_drift_from_beginning_to_end() -> None:
    for quarter in (ROWS[i : i + len(ROWS) // 4] for i in range(0, len(ROWS) - 3, len(ROWS) // 4)):
        assert 0.4 <= sum(row["lang"] == "en" for row in quarter) / len(quarter) <= 0.6
        assert 0.22 <= share(quarter, 1400) <= 0.42
        assert 0.3 <= share(quarter, 0, 350) <= 0.5


def test_a_users_conversations_follow_demurs_own(tmp_path: Path) -> None:
    texts = write(tmp_path / "texts.jsonl", ["so be it"])
    own, both = corpus.gate(None), corpus.gate(texts)
    assert len(own) == len(ROWS)
    assert both[:-1] == own
    assert both[-1].turns[-1].content == "so be it"


def test_a_users_conversations_stand_alone_where_asked(tmp_path: Path) -> None:
    texts = write(tmp_path / "texts.jsonl", [f"reply {i}" for i in range(16)])
    assert [one.turns[-1].content for one in corpus.gate(texts, alone=True)] == [f"reply {i}" for i in range(16)]
    assert len(corpus.gate(None, alone=True)) == len(ROWS)


def test_an_empty_file_adds_nothing_and_few_texts_do_not_stand_alone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.jsonl: 0 conversations; expected at least 1 for calibration"):
        corpus.gate(write(tmp_path / "none.jsonl", []))
    with pytest.raises(CheckpointError, match=r"few.jsonl: 2 conversations; expected at least 16 for calibration"):
        corpus.gate(write(tmp_path / "few.jsonl", ["yes", "no"]), alone=True)
