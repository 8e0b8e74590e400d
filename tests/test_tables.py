"""`score_table`: any table in, the same kind of table out, with the verdict's columns."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import demur
from demur import Classifier
from demur.errors import DataError

pandas = pytest.importorskip("pandas", reason="needs pandas")
polars = pytest.importorskip("polars", reason="needs polars")
pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")

ADDED = ["demur_score", "demur_refusal", "demur_tokens", "demur_elided", "demur_error"]
PROMPTS = ["Pick a lock?", "Capital of France?", None, "Again?", "More?"]
REPLIES = ["I'm sorry, no.", "Paris.", "I'm sorry.", "", None]
COLUMNS = {"id": [7, 8, 9, 10, 11], "prompt": PROMPTS, "response": REPLIES}
KINDS = {"pandas": pandas.DataFrame, "polars": polars.DataFrame, "pyarrow": pyarrow.table}


def _plain(table: Any) -> dict[str, list[Any]]:
    """A table's columns as lists, whatever its kind, with None for every kind of gap."""
    if isinstance(table, pandas.DataFrame):
        table = pyarrow.Table.from_pandas(table, preserve_index=False)
    return table.to_pydict() if isinstance(table, pyarrow.Table) else table.to_dict(as_series=False)


def _expected(model: Classifier, rows: list[Any]) -> dict[str, list[Any]]:
    results = list(model.stream(rows, errors="return"))
    verdicts = [result if isinstance(result, demur.Verdict) else None for result in results]
    return {
        "demur_score": [verdict and verdict.score for verdict in verdicts],
        "demur_refusal": [verdict and verdict.refusal for verdict in verdicts],
        "demur_tokens": [verdict and verdict.tokens for verdict in verdicts],
        "demur_elided": [verdict and verdict.elided for verdict in verdicts],
        "demur_error": [None if isinstance(result, demur.Verdict) else str(result) for result in results],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gets_the_verdicts_of_its_rows(fake: Classifier, kind: str) -> None:
    table = KINDS[kind](COLUMNS)
    scored = demur.score_table(table, model=fake)
    rows = [{"prompt": p, "response": r} for p, r in zip(PROMPTS, REPLIES, strict=True)]
    assert type(scored) is type(table)
    assert _plain(scored) == {**COLUMNS, **_expected(fake, rows)}
    assert [error is None for error in _plain(scored)["demur_error"]] == [True, True, True, False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_the_callers_table_stays_as_it_is(fake: Classifier, kind: str) -> None:
    table = KINDS[kind](COLUMNS)
    demur.score_table(table, model=fake)
    assert _plain(table) == COLUMNS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("replies", [REPLIES, ["Paris."], []], ids=["errors", "none", "no rows"])
def test_the_added_columns_have_the_same_types_whatever_is_in_them(
    fake: Classifier, kind: str, replies: list[str | None]
) -> None:
    table = pandas.DataFrame({"response": pandas.array(replies, dtype="string")})
    if kind != "pandas":
        table = pyarrow.table({"response": pyarrow.array(replies, pyarrow.string())})
        table = polars.from_arrow(table) if kind == "polars" else table
    scored = demur.score_table(table, model=fake, response="response")
    if kind == "pandas":
        scored = pyarrow.Table.from_pandas(scored, preserve_index=False)
    types = [str(field.type) for field in (scored.to_arrow() if kind == "polars" else scored).schema][1:]
    assert types[:4] == ["double", "bool", "int32", "int32"]
    assert types[4] in ("string", "large_string", "string_view")


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_was_scored_before_gets_new_columns_in_place_of_the_old(fake: Classifier, kind: str) -> None:
    once = demur.score_table(KINDS[kind](COLUMNS | {"demur_score": ["x"] * 5}), model=fake)
    assert _plain(demur.score_table(once, model=fake)) == _plain(once)
    assert list(_plain(once)) == [*COLUMNS, *ADDED]


def test_scores_are_those_of_the_model_to_the_last_bit(model: Classifier) -> None:
    replies = [f"Sure, {i}" + " and more" * i for i in range(8)] + ["I can't help with that. " * 200]
    scored = demur.score_table(pyarrow.table({"r": replies}), model=model, response="r", workers=2)
    expected = [model.check(reply) for reply in replies]
    assert scored["demur_score"].to_pylist() == [verdict.score for verdict in expected]
    assert scored["demur_elided"].to_pylist() == [verdict.elided for verdict in expected]
    assert expected[-1].elided > 0


def test_the_default_model_is_loaded_and_the_threshold_moves_its_line() -> None:
    table = pyarrow.table({"prompt": ["Pick a lock?"], "response": ["I'm sorry, but I can't help with that."]})
    assert demur.score_table(table)["demur_refusal"].to_pylist() == [True]
    assert demur.score_table(table, threshold=1.0)["demur_refusal"].to_pylist() == [False]


def test_a_threshold_beside_a_classifier_is_an_error(fake: Classifier) -> None:
    with pytest.raises(ValueError, match="the classifier given has its own"):
        demur.score_table(pyarrow.table(COLUMNS), model=fake, threshold=0.9)


def test_the_rest_of_a_pandas_frame_is_kept(fake: Classifier) -> None:
    table = pandas.DataFrame(
        {
            "response": ["Sure.", "I'm sorry."],
            0: [1.5, None],
            "kind": pandas.Categorical(["a", "b"]),
            "when": pandas.to_datetime(["2024-01-01", None]),
        },
        index=pandas.Index(["x", "y"], name="key"),
    )
    scored = demur.score_table(table, model=fake, response="response")
    pandas.testing.assert_frame_equal(scored[table.columns], table)
    assert list(scored[scored.demur_refusal].index) == ["y"]


def test_the_rest_of_an_arrow_table_is_kept(fake: Classifier) -> None:
    table = pyarrow.table(
        {
            "response": pyarrow.array(["Sure.", "I'm sorry."]).dictionary_encode(),
            "cost": pyarrow.array([1, None], pyarrow.decimal128(9, 2)),
            "nested": [[{"a": 1}], []],
        }
    ).replace_schema_metadata({"origin": "here"})
    scored = demur.score_table(table, model=fake, response="response")
    assert scored.select(table.column_names).equals(table, check_metadata=True)
    assert scored["demur_refusal"].to_pylist() == [False, True]


@pytest.mark.parametrize("way", ["__arrow_c_stream__", "__arrow_c_array__"])
def test_anything_that_speaks_arrow_is_a_table(fake: Classifier, way: str) -> None:
    class Foreign:
        """A table of a library that demur has never heard of."""

    data: Any = pyarrow.table(COLUMNS) if way == "__arrow_c_stream__" else pyarrow.record_batch(COLUMNS)
    setattr(Foreign, way, lambda self, requested_schema=None: getattr(data, way)(requested_schema))
    scored = demur.score_table(Foreign(), model=fake)
    assert scored.to_pydict() == demur.score_table(pyarrow.table(COLUMNS), model=fake).to_pydict()


@pytest.mark.parametrize("workers", [1, 3])
def test_many_rows_keep_their_places(fake: Classifier, workers: int) -> None:
    replies = ["I'm sorry." if i % 7 == 3 else "" if i % 11 == 5 else "Sure." for i in range(2500)]
    scored = demur.score_table(polars.DataFrame({"a": replies}), model=fake, response="a", workers=workers)
    assert scored["demur_refusal"].to_list() == [None if not reply else "sorry" in reply for reply in replies]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([1, 2], "not list"),
        ({"response": ["A"]}, "not dict"),
        (polars.LazyFrame({"response": ["A"]}), "collect\\(\\) it first"),
    ],
    ids=["list", "dict", "lazy"],
)
def test_what_is_no_table_is_an_error(fake: Classifier, wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        demur.score_table(wrong, model=fake)


def test_without_pyarrow_frames_still_work_and_files_say_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import polars, demur\n"
        "from demur.testing import fake_classifier\n"
        "table, model = polars.DataFrame({'r': ['A']}), fake_classifier(0.9)\n"
        "print(demur.score_table(table, model=model, response='r')['demur_refusal'][0])\n"
        "demur.score_table('rows.parquet', model=model)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False
    )
    assert run.stdout == "True\n"
    assert "DataExtraError: reading a table from a file needs pyarrow: pip install 'demur[data]'" in run.stderr
