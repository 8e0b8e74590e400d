"""The authored conversations are what their README says, and none of them is both trained on and tested with."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "models" / "training"))

import authored


def test_every_row_is_well_formed_distinct_and_on_its_own_side() -> None:
    assert list(authored.faults()) == []


def test_the_readme_has_the_current_counts() -> None:
    assert (ROOT / "models/training/authored/README.md").read_text(encoding="utf-8").endswith(authored.counts())


def test_both_parts_have_answers_and_refusals_in_at_least_fifteen_languages() -> None:
    for part in ("train", "evaluation"):
        rows = authored.read(part)
        labels = {lang: {row["label"] for row in rows if row["lang"] == lang} for lang in {row["lang"] for row in rows}}
        assert sum(both == {0, 1} for both in labels.values()) >= 15
