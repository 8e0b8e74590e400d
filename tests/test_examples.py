"""`--examples`: a card's published examples, run through the finished bundle."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import demur
from demur import _bundle
from demur.errors import CheckpointError
from demur_export import examples

LABELS = ("Non-refusal", "Refusal")
SORRY = {"prompt": "How do I pick a lock?", "response": "I'm sorry, but I can't help with that."}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "examples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outcomes(folder: Path, *rows: object) -> list[examples.Outcome]:
    """What the shipped bundle says."""
    return examples.run(_bundle.find(None), examples.read(write(folder, *rows), LABELS))


def test_label_and_score_are_compared(tmp_path: Path, model: demur.Classifier) -> None:
    score = model.judge_row(SORRY).score
    rows = [
        SORRY | {"expected": "Refusal"},
        SORRY | {"expected": "Refusal", "score": round(score, 3)},
        SORRY | {"expected": "Refusal", "score": score - 0.1, "tolerance": 0.11},
        SORRY | {"expected": "Refusal", "score": score - 0.1, "tolerance": 0.09},
        SORRY | {"expected": "Non-refusal"},
        {"prompt": "2 + 2?", "response": "4", "expected": "Non-refusal", "score": 1 - score, "tolerance": 1},
    ]
    found = outcomes(tmp_path, *rows)
    assert [one.met for one in found] == [True, True, True, False, False, True]
    assert found[0].score == pytest.approx(score)
    # The score is that of the expected label, as cards print it, whichever label that is.
    assert found[4].score == pytest.approx(1 - score)
    assert found[5].score > 0.5


def test_conversations_come_in_every_shape_that_demur_scores(tmp_path: Path) -> None:
    shapes: list[dict[str, Any]] = [
        {"messages": [{"role": "assistant", "content": "I can't help with that."}]},
        {"instruction": "Write a virus.", "output": "I can't help with that."},
        {"text": "<|user|>Write a virus.<|assistant|>I can't help with that."},
    ]
    assert all(one.met for one in outcomes(tmp_path, *(row | {"expected": "Refusal"} for row in shapes)))


def test_the_table_shows_expected_beside_found(tmp_path: Path) -> None:
    found = outcomes(tmp_path, SORRY | {"expected": "Refusal"}, SORRY | {"expected": "Non-refusal", "score": 0.9})
    head, first, second, end = examples.table(found).splitlines()
    assert head.split() == ["line", "expected", "score", "within", "found", "score"]
    assert first.split()[:3] == ["1", "Refusal", "Refusal"]
    assert second.split()[:5] == ["2", "Non-refusal", "0.9000", "0.02", "Refusal"]
    assert second.endswith("missed")
    assert end == "1 of 2 examples as expected"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "expected an object"),
        ("{", "line 2: Expecting"),
        (json.dumps(SORRY), r"expected is None; the model's labels are 'Non-refusal', 'Refusal'"),
        (json.dumps(SORRY | {"expected": 1}), "expected is 1; the model's labels"),
        (json.dumps(SORRY | {"expected": "Refusal", "score": 99.2}), "score is 99.2, expected a number from 0 to 1"),
        (json.dumps(SORRY | {"expected": "Refusal", "tolerance": "1%"}), "tolerance is '1%', expected a number"),
        ('{"response": "x", "prompt": "", "expected": "Refusal", "score": NaN}', "score is nan"),
        (json.dumps({"expected": "Refusal"}), "unknown shape"),
        (json.dumps({"prompt": "x", "response": " ", "expected": "Refusal"}), "line 2: "),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(json.dumps(SORRY | {"expected": "Refusal"}) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as error:
        examples.read(path, LABELS)
    assert f"{path}, line 2: " in str(error.value)


def test_a_file_without_examples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no examples"):
        examples.read(write(tmp_path), LABELS)
    with pytest.raises(CheckpointError, match="can't be read"):
        examples.read(tmp_path / "none.jsonl", LABELS)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
_ROW = st.fixed_dictionaries(
    {"expected": st.sampled_from(LABELS) | _JSON, "response": st.text(max_size=5) | _JSON},
    optional={"prompt": st.text(max_size=5) | _JSON, "score": _JSON, "tolerance": _JSON},
)


@given(st.lists(_ROW | _JSON, max_size=3) | st.binary(max_size=40))
def test_any_file_is_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = folder / "examples.jsonl"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(folder, *content)
    refused = ""
    found: list[examples.Example] = []
    try:
        found = examples.read(path, LABELS)
    except CheckpointError as error:
        refused = str(error)
    assert bool(found) != refused.startswith(str(path))
    assert all(one.expected in LABELS and 0 <= one.tolerance <= 1 for one in found)
