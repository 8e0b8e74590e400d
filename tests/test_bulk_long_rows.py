"""Long rows of Parquet files: every row once and in its order, texts to the byte, and a bound on memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _bulk import do
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur._bulk import _tables
from demur._bulk._arrow_array import array
from demur._bulk._packing import Consumed
from demur.errors import InputError

_LONG = (1 << 24) + 1


def _rows(path: Path) -> list[Any]:
    return list(_tables.rows(path, "f", "parquet", ["response"], Consumed()))


@pytest.mark.parametrize("places", [[0], [70], [149], [3, 70, 71, 148], [0, 1]], ids=str)
def test_every_row_comes_once_and_in_its_order_around_long_ones(places: list[int], tmp_path: Path) -> None:
    replies = ["x" * _LONG if i in places else f"reply {i}" for i in range(150)]
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": range(150), "response": replies, "lang": ["de", "en"] * 75}), path)
    rows = _rows(path)
    assert [row.number for row in rows] == list(range(1, 151))
    assert [row.fields()["id"] for row in rows] == list(range(150))
    assert [row.judged()["response"] for row in rows] == replies


def test_a_short_row_beside_a_long_one_does_not_hold_on_to_it(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"response": ["x" * _LONG if i == 30 else "Sure." for i in range(150)]}), path)
    held = [sum(len(b) for b in row.batch.column("response").buffers() if b is not None) for row in _rows(path)]
    assert [i for i, size in enumerate(held) if size > 10_000] == [30]


def test_a_long_row_goes_out_with_its_columns_types(fake: Classifier, tmp_path: Path) -> None:
    reply = "I'm sorry. " + "x" * _LONG
    table = pa.table(
        {
            "response": ["Sure.", reply, None, ""],
            "lang": pa.array(["de", None, "en", "de"]).dictionary_encode(),
            "when": pa.array([1, None, 3, 4], pa.timestamp("ms", "UTC")),
            "prompt": pa.array(["caf\u00e9", "Q", "Q", "Q"], pa.large_string()),
        }
    )
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(table, source)
    report = do(fake, source, out)
    read = pq.read_table(out)
    assert read.select(table.column_names).equals(pq.read_table(source))
    assert read.column("demur_refusal").to_pylist() == [False, True, None, None]
    assert (report.tally.lines, report.tally.failed) == (4, 2)


def test_a_text_that_is_not_utf8_is_an_error_of_its_row_alone(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    texts = pa.array([b"Sure.", b"S\xff"]).view(pa.string())
    pq.write_table(pa.table({"response": texts}), path)
    first, second = _rows(path)
    assert first.judged() == {"response": "Sure."}
    with pytest.raises(InputError, match=r"not UTF-8: byte 0xff at position 1 of the column 'response'"):
        second.judged()


@given(st.lists(st.none() | st.text()), st.data())
def test_arrays_hold_what_pyarrow_would_make_of_the_values(texts: list[str | None], data: st.DataObject) -> None:
    kinds = {
        pa.string(): texts,
        pa.bool_(): data.draw(st.lists(st.none() | st.booleans())),
        pa.int64(): data.draw(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
        pa.float64(): data.draw(st.lists(st.none() | st.floats(allow_nan=False))),
        pa.list_(pa.int64()): [None, [], [1, None]],
    }
    for kind, values in kinds.items():
        made = array(values, kind)
        made.validate(full=True)
        assert made.equals(pa.array(values, kind))


def test_a_parquet_file_is_scored_without_pandas(tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    replies = ["Sure.", "No." * (_LONG // 3), "Sure."]
    pq.write_table(pa.table({"prompt": ["Q"] * 3, "response": replies}), source)
    script = (
        "import sys; from pathlib import Path; from _bulk import do; from demur.testing import fake_classifier\n"
        f"do(fake_classifier(0.1), Path({str(source)!r}), Path({str(out)!r}))\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent)
    assert pq.read_table(out).num_rows == 3
