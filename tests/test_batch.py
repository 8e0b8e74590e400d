"""`BatchScorer` in Hugging Face `datasets`: new columns, any number of processes, no row that stops the others."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import demur
from demur import BatchScorer, Classifier
from demur.errors import DataError

datasets = pytest.importorskip("datasets", reason="needs Hugging Face datasets")
# `datasets` and what it starts warn of things that are none of demur's business.
pytestmark = pytest.mark.filterwarnings("default")

REPLIES = ["Paris.", "I'm sorry.", "Sure.", "", "I'm sorry, no.", None, "Yes."]
ROWS = {"kind": [0, 1, 0, 1, 0, 1, 0], "prompt": list("ABCDEFG"), "response": REPLIES}
REFUSALS = [False, True, False, None, True, None, False]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


@pytest.fixture
def rows() -> Any:
    names = datasets.ClassLabel(names=["a", "b"])
    return datasets.Dataset.from_dict(ROWS).cast_column("kind", names)


@pytest.mark.parametrize("kind", [None, "arrow", "pandas", "polars"])
@pytest.mark.parametrize("batch_size", [1, 1000])
def test_map_adds_the_verdicts_columns(fake: Classifier, rows: Any, kind: str | None, batch_size: int) -> None:
    scored = rows.with_format(kind).map(BatchScorer(fake), batched=True, batch_size=batch_size).with_format(None)
    assert scored["demur_refusal"][:] == REFUSALS
    assert [error is None for error in scored["demur_error"][:]] == [refusal is not None for refusal in REFUSALS]
    assert {name: scored[name][:] for name in ROWS} == ROWS
    assert scored.features["kind"] == rows.features["kind"]


def test_errors_that_come_late_find_a_column_of_text(fake: Classifier) -> None:
    rows = datasets.Dataset.from_dict({"prompt": ["Q"] * 2100, "response": [*["A"] * 2099, ""]})
    scored = rows.map(BatchScorer(fake), batched=True)
    assert str(scored.features["demur_error"].dtype) == "string"
    assert scored[2099]["demur_error"] == "the response is empty, so there is no reply to judge"


def test_a_dataset_that_is_read_as_it_comes_is_scored_as_it_comes(fake: Classifier, rows: Any) -> None:
    scored = list(rows.to_iterable_dataset().map(BatchScorer(fake), batched=True, batch_size=2))
    assert [row["demur_refusal"] for row in scored] == REFUSALS
    assert [row["prompt"] for row in scored] == ROWS["prompt"]


@pytest.mark.slow
def test_several_processes_give_the_same_as_one(rows: Any) -> None:
    alone = rows.map(BatchScorer(workers=1), batched=True)
    several = rows.map(BatchScorer(workers=1), batched=True, batch_size=2, num_proc=2)
    assert several.to_list() == alone.to_list()
    assert alone["demur_score"][1] == demur.load(threads=1).check("I'm sorry.", prompt="B").score


def test_its_pickle_is_small_and_the_same_before_and_after_the_first_batch() -> None:
    scorer = BatchScorer(threshold="high-precision", workers=1)
    before = pickle.dumps(scorer)
    scorer({"prompt": ["Q"], "response": ["A"]})
    assert pickle.dumps(scorer) == before
    assert len(before) < 2000
    assert pickle.loads(before)({"prompt": ["Q"], "response": ["A"]}) == scorer({"prompt": ["Q"], "response": ["A"]})


def test_a_batch_of_lists_gets_the_verdicts_columns_alone(fake: Classifier) -> None:
    scored = BatchScorer(fake)({"prompt": ["Q", "Q"], "response": ["I'm sorry.", ""]})
    assert list(scored) == ["demur_score", "demur_refusal", "demur_tokens", "demur_elided", "demur_error"]
    assert scored["demur_refusal"] == [True, None]
    assert json.dumps(scored)  # plain Python values


def test_batches_one_by_one(fake: Classifier) -> None:
    batches = ({"a": [reply]} for reply in ("I'm sorry.", "Sure."))
    judged = BatchScorer(fake, response="a").each(batches)
    assert [batch["demur_refusal"] for batch in judged] == [[True], [False]]


def test_mistakes_are_said_before_the_first_batch(fake: Classifier) -> None:
    with pytest.raises(DataError, match="so there is no reply"):
        BatchScorer(prompt="q")
    with pytest.raises(ValueError, match="the classifier given has its own"):
        BatchScorer(fake, threshold=0.5)
