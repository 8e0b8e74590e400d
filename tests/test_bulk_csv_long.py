"""A long CSV record is read as the `csv` module reads a short one."""

import csv
import io
import json
import zlib
from pathlib import Path

import pytest
from _bulk import do
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur._bulk import _csv, _csv_long

_LONG = _csv._SHORT + 1000


def _lines(text: str) -> list[str]:
    return list(io.StringIO(text, newline=""))


@given(st.text(st.sampled_from('a",\n\r\u20ac'), max_size=30), st.sampled_from(",\t"))
def test_its_cells_are_those_of_the_csv_module(text: str, delimiter: str) -> None:
    text = text.replace(",", delimiter)
    lines, other = iter(_lines(text)), iter(_lines(text))
    expected = next(csv.reader(other, delimiter=delimiter), None)
    if expected:  # neither the end nor a blank line, which are never long
        assert _csv_long.cells(lines, delimiter) == expected
        assert list(lines) == list(other)


@pytest.mark.parametrize(
    "cell",
    [
        "x" * _LONG,
        'she said "no", ' * (_LONG // 15),
        "a line\n" * (_LONG // 7),
        "caf\u00e9\r\n" * (_LONG // 6),
        '"' * _LONG,
    ],
    ids=["plain", "quotes", "lines", "crlf", "nothing but quotes"],
)
def test_a_long_row_goes_out_as_it_came_beside_short_ones(fake: Classifier, cell: str, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    replies = ["Sure.", cell, "I'm sorry.", cell, "Sure."]
    with source.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([["prompt", "response"], *(["Q", r] for r in replies)])
    report = do(fake, source, out)
    assert (report.tally.lines, report.tally.failed) == (5, 0)
    written = out.read_bytes().decode()
    for row in source.read_bytes().decode().split("\nQ,")[1:]:
        assert f"\nQ,{row.removesuffix(chr(10))}," in written
    converted = tmp_path / "out.jsonl"
    do(fake, source, converted)
    read = [json.loads(line)["response"] for line in converted.read_bytes().splitlines()]
    assert read == replies


def test_a_long_row_has_the_check_sum_of_its_bytes(tmp_path: Path) -> None:
    text = "caf\u00e9 \udcff" * _csv._SHORT
    head = _csv.Head(("response",), ",")
    record = _csv.Record("f", 1, head, [text], text)
    assert b"".join(_csv.encoded(text)) == text.encode("utf-8", "surrogateescape")
    assert record.mark() == zlib.crc32(text.encode("utf-8", "surrogateescape"))
