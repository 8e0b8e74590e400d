"""CSV in, the same CSV with verdicts out."""

import csv
import io
import itertools
import json
from pathlib import Path

import pytest
from _bulk import as_csv, do, jsonl, read_jsonl, rows
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur._bulk._csv import Record, head, records
from demur._bulk._lines import Line
from demur._bulk._outcome import Outcome
from demur._bulk._text_sinks import Csv
from demur.errors import DataError

_CELLS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)


def _records(data: bytes, delimiter: str | None = None) -> list[Record]:
    return list(records(io.BufferedReader(io.BytesIO(data)), "in.csv", delimiter))  # type: ignore[arg-type]


def _table(path: Path, delimiter: str = ",") -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, delimiter=delimiter))


@given(
    st.lists(st.lists(_CELLS, min_size=2, max_size=2), max_size=6),
    st.sampled_from(",;|\t"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_rows_are_told_apart_as_the_csv_module_does(
    table: list[list[str]], delimiter: str, end: str, quoting: int
) -> None:
    if end == "\n":  # the module leaves a lone return unquoted then
        table = [[cell.replace("\r", "") for cell in row] for row in table]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([["a", "b"], *table])
    found = _records(text.getvalue().encode())
    assert [list(record.values) for record in found] == table
    assert "".join(record.text for record in found) == text.getvalue().split(end, 1)[1]


@given(st.binary(max_size=60))
def test_any_bytes_come_back_as_they_are(data: bytes) -> None:
    start = b"a,b\n"
    out = io.BytesIO()
    sink = Csv(out, head(io.BufferedReader(io.BytesIO(start)), ""), ",", None)  # type: ignore[arg-type]
    for record in _records(start + data):
        sink.add(record, None)
    kept = [line for line in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    found = [line for line in out.getvalue()[4:].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n") if line]
    assert found == kept


def test_a_scored_table_has_its_own_text_and_new_columns(fake: Classifier, tmp_path: Path) -> None:
    source = b'\xef\xbb\xbfid,"prompt",response\r\n"1",Q,"I\'m ""sorry"",\nno"\r\n02,,Sure.\r\n'
    (tmp_path / "in.csv").write_bytes(source)
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    written = (tmp_path / "out.csv").read_bytes()
    assert written.startswith(b"\xef\xbb\xbfid,prompt,response,demur_refusal,demur_score,")
    assert b'\r\n"1",Q,"I\'m ""sorry"",\nno",true,0.99' in written
    assert b"\r\n02,,Sure.,false,0.0" in written
    assert written.endswith(b"\r\n")


def test_scores_are_those_of_jsonl(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(as_csv(rows(30)))
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    do(fake, tmp_path / "in.csv", tmp_path / "out.jsonl")
    names, *table = _table(tmp_path / "out.csv")
    cells = [dict(zip(names, row, strict=True)) for row in table]
    for row, told in zip(cells, read_jsonl(tmp_path / "out.jsonl"), strict=True):
        if row["demur_error"]:
            assert row["demur_error"] == told["demur"]["error"]
        else:
            assert float(row["demur_score"]) == told["demur"]["score"]
            assert row["demur_refusal"] == str(told["demur"]["refusal"]).lower()


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ";"), ("csv", "\t"), ("tsv", "\t"), ("csv", "|")])
def test_the_delimiter_is_found_and_kept(fake: Classifier, tmp_path: Path, ending: str, delimiter: str) -> None:
    (tmp_path / f"in.{ending}").write_bytes(as_csv(rows(3), delimiter))
    do(fake, tmp_path / f"in.{ending}", tmp_path / f"out.{ending}")
    table = _table(tmp_path / f"out.{ending}", "," if (ending, delimiter) == ("csv", "\t") else delimiter)
    assert [row[:3] for row in table[1:]] == [[str(row[key]) for key in row] for row in rows(3)]
    assert table[2][3] == "true"


def test_rows_that_do_not_fit_the_header_lose_nothing(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"prompt,response\nQ\nQ,Sure.,more,and more\nQ,Sure.\n\n")
    report = do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    assert (report.tally.lines, report.tally.failed) == (3, 2)
    names, short, long, good = _table(tmp_path / "out.csv")
    place = names.index("demur_error")
    assert short[:2] == ["Q", ""]
    assert short[place] == "the row has 1 cells, the header 2"
    assert long[:2] == ["Q", "Sure."]
    assert long[place:] == ["the row has 4 cells, the header 2", "more", "and more"]
    assert good[place] == ""


def test_bytes_that_are_no_utf8_are_kept_and_not_scored(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"prompt,response\nQ,caf\xe9\n")
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    assert b"\nQ,caf\xe9," in (tmp_path / "out.csv").read_bytes()
    assert (tmp_path / "out.csv").read_bytes().endswith(b",not UTF-8; convert the file (iconv -f CP1252 -t UTF-8)\n")


def test_an_old_result_makes_way(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(as_csv(rows(3)))
    do(fake, tmp_path / "in.csv", tmp_path / "once.csv")
    do(fake, tmp_path / "once.csv", tmp_path / "twice.csv")
    assert (tmp_path / "once.csv").read_bytes() == (tmp_path / "twice.csv").read_bytes()


def test_a_cell_of_any_length_is_read(fake: Classifier, tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "in.csv").write_bytes(as_csv([{"prompt": "Q", "response": "I'm sorry. " * 50_000}]))
    report = do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    assert report.tally.refusals == 1
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "has no first line"), (b"\n", "has no first line"), (b"a,a\n", "two columns are called 'a'")],
)
def test_a_header_that_names_no_columns_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(DataError, match=told):
        _records(data)


def test_tables_of_other_columns_are_refused_before_anything_is_done(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,response\nQ,A\n")
    (tmp_path / "b.csv").write_bytes(b"response,prompt\nA,Q\n")
    with pytest.raises(DataError, match=r"b.csv: its columns \(response, prompt\) are not those of .*a.csv"):
        do(fake, [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.csv")
    do(fake, [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.jsonl")
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2


def test_without_rows_there_is_the_header(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"prompt,response\n")
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv")
    assert _table(tmp_path / "out.csv")[0][:3] == ["prompt", "response", "demur_refusal"]


def test_kept_rows_are_as_they_were(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'prompt,response\nQ,"Sure."\nQ,sorry\n"Q" ,Sure.')
    do(fake, tmp_path / "in.csv", tmp_path / "out.csv", drop="refusals")
    assert (tmp_path / "out.csv").read_bytes() == b'prompt,response\nQ,"Sure."\n"Q" ,Sure.\n'


@given(st.lists(st.fixed_dictionaries({"prompt": _CELLS, "response": _CELLS}), min_size=1, max_size=5))
def test_objects_become_rows_of_the_same_texts(fake: Classifier, table: list[dict[str, str]]) -> None:
    out = io.BytesIO()
    sink = Csv(out, None, ",", False)
    for i, row in enumerate(table):
        sink.add(Line("", i, json.dumps(row).encode()), Outcome(error="why"))
    texts = [[row[name] for name in table[0]] for row in table]
    assert [list(record.values[:2]) for record in _records(out.getvalue(), ",")] == texts


def test_objects_of_several_shapes_make_one_table(fake: Classifier, tmp_path: Path) -> None:
    mixed = [{"prompt": "Q", "response": "Sure."}, {"text": "<|user|>Q<|assistant|>I'm sorry.", "n": 1, "demur": {}}]
    (tmp_path / "in.jsonl").write_bytes(jsonl(mixed) + b"oops\n")
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.csv")
    names, *table = _table(tmp_path / "out.csv")
    assert (names[:3], names[-1]) == (["prompt", "response", "demur_refusal"], "demur_raw")
    assert {len(row) for row in table} == {len(names)}
    assert [row[-1] for row in table] == ["", json.dumps({key: mixed[1][key] for key in ("text", "n")}), "oops"]
    (tmp_path / "in.jsonl").write_bytes(b"oops\n" + jsonl(mixed))
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.csv")
    names, *table = _table(tmp_path / "out.csv")
    assert {len(row) for row in table} == {len(names)}
    assert [row[0] for row in table] == ["", "false", "true"]


def test_an_older_verdict_of_another_format_makes_way(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(2)))
    names = ["a.jsonl", "b.parquet", "c.jsonl", "d.csv", "e.json"]
    for source, target in itertools.pairwise(["in.jsonl", *names]):
        do(fake, tmp_path / source, tmp_path / target)
    for found in (json.loads((tmp_path / "e.json").read_text()), read_jsonl(tmp_path / "c.jsonl")):
        assert [set(row) - {"demur_raw"} for row in found] == [{"id", "prompt", "response", "demur"}] * 2
    assert _table(tmp_path / "d.csv")[0].count("demur_score") == 1
    assert "demur" not in _table(tmp_path / "d.csv")[0]


def test_an_outcome_without_a_verdict_fills_its_columns(tmp_path: Path) -> None:
    out = io.BytesIO()
    first = head(io.BufferedReader(io.BytesIO(b"a\n")), "")  # type: ignore[arg-type]
    Csv(out, first, ",", True).add(Record("", 1, first, ["1"], "1\n"), Outcome(error="why"))
    assert out.getvalue() == b"a,demur_refusals,demur_turns,demur_error\n1,,,why\n"
