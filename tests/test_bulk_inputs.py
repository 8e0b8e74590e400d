"""Which files a command line names, what they hold, and how their rows are told apart."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from _bulk import as_csv, do, jsonl, read_jsonl, rows
from hypothesis import given
from hypothesis import strategies as st

from demur import Classifier
from demur._bulk import _formats
from demur._bulk._formats import Format
from demur._bulk._inputs import find
from demur._bulk._lines import Line, elements, lines
from demur._bulk._packing import Consumed, unpacked
from demur.errors import DataError

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def _names(found: list[Any]) -> list[str]:
    return [Path(one.name).name for one in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.csv", "c.txt", ".hidden.jsonl", "_SUCCESS.json", "d.jsonl.demur-partial"):
        (tmp_path / name).write_bytes(b"{}\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "e.jsonl").write_bytes(b"{}\n")
    return tmp_path


def test_a_folder_stands_for_its_files_of_known_endings(folder: Path) -> None:
    assert _names(find([str(folder)])) == ["a.csv", "b.jsonl"]


def test_a_glob_stands_for_what_it_matches(folder: Path) -> None:
    assert _names(find([f"{folder}/*.jsonl"])) == ["b.jsonl"]
    assert _names(find([f"{folder}/**/*.jsonl"])) == ["b.jsonl", "e.jsonl"]
    assert _names(find([f"{folder}/[cx].*"])) == ["c.txt"]


def test_a_file_that_is_named_twice_is_read_once(folder: Path) -> None:
    (folder / "link.jsonl").symlink_to("b.jsonl")
    names = [str(folder / "b.jsonl"), str(folder), str(folder / "link.jsonl"), "-", "-"]
    assert _names(find(names)) == ["b.jsonl", "a.csv", "standard input"]


@pytest.mark.parametrize(
    ("name", "told"),
    [("nothing.jsonl", "no such file"), ("*.parquet", "no file matches"), ("deep/empty", "no files that end in")],
)
def test_a_name_that_stands_for_nothing_is_refused(folder: Path, name: str, told: str) -> None:
    (folder / "deep" / "empty").mkdir()
    with pytest.raises(DataError, match=told):
        find([str(folder / name)])


def test_a_data_set_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../../etc/passwd"}]}))
    with pytest.raises(DataError, match="expected a file or folder beside it"):
        find([str(tmp_path)])
    (tmp_path / "state.json").write_text("[")
    with pytest.raises(DataError, match=r"state.json: can't be read"):
        find([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("x.jsonl", b"{}", "jsonl"),
        ("x.ndjson", b"{}", "jsonl"),
        ("x.json", b" \n[{}]", "json"),
        ("x.json", b"\xef\xbb\xbf[{}]", "json"),
        ("x.json", b"{}\n{}", "jsonl"),
        ("x.json.gz", gzip.compress(b"[{}]"), "json.gz"),
        ("x.json.gz", gzip.compress(b"{}"), "jsonl.gz"),
        ("x", b"[{}]", "json"),
        ("x", b"{}", "jsonl"),
        ("x", b"", "jsonl"),
        ("x", gzip.compress(b"{}"), "jsonl.gz"),
        ("x.csv", b"a,b", "csv"),
        ("x.CSV", b"a,b", "csv"),
        ("x.csv", gzip.compress(b"a,b"), "csv.gz"),
        ("x.csv.gz", b"a,b", "csv"),
        ("x.tsv.zst", zstandard.compress(b"a\tb"), "tsv.zst"),
        ("x.json", b"PAR1", "parquet"),
        ("x", b"ARROW1\0\0", "arrow"),
        ("x.arrow", b"\xff\xff\xff\xff", "arrow"),
    ],
)
def test_what_a_file_holds_is_seen_by_content_and_ending(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert str(_formats.by_content(tmp_path / name)) == expected


def test_the_caller_may_say_what_a_file_holds(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(as_csv(rows(2)))
    do(fake, tmp_path / "in.txt", tmp_path / "out.txt", input_format="csv", output_format="tsv")
    assert (tmp_path / "out.txt").read_text().startswith("id\tprompt\tresponse\tdemur_refusal\t")


@pytest.mark.parametrize("name", ["yaml", "csv.bz2", "parquet.gz", ""])
def test_an_unknown_format_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="unknown format"):
        _formats.parse(name)


def test_every_format_has_a_name_that_is_read_back() -> None:
    for name in _formats.named():
        assert str(_formats.parse(name)) == name


@pytest.mark.parametrize("packing", ["gz", "zst"])
@given(st.lists(st.binary(max_size=50), max_size=4), st.integers(1, 9))
def test_frames_one_after_the_other_are_one_text(packing: str, parts: list[bytes], padding: int) -> None:
    pack = gzip.compress if packing == "gz" else zstandard.compress
    packed = b"".join(pack(part) for part in parts) + (b"\0" * padding if packing == "gz" else b"")
    consumed = Consumed()
    assert unpacked(io.BytesIO(packed), packing, consumed).read() == b"".join(parts)
    assert consumed.done == len(packed)


def _elements(data: bytes, chunk: int) -> list[Line]:
    return list(elements(io.BufferedReader(_Slow(data, chunk)), "in.json"))  # type: ignore[type-var]


class _Slow(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, data: bytes, chunk: int) -> None:
        self._data, self._chunk = io.BytesIO(data), chunk

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._data.read(min(len(buffer), self._chunk))
        buffer[: len(data)] = data
        return len(data)


@given(st.lists(_JSON, max_size=5), st.sampled_from([None, 1, "\t"]), st.integers(1, 70), st.booleans())
def test_the_elements_of_an_array_are_told_apart(values: list[Any], indent: Any, chunk: int, ascii_only: bool) -> None:
    text = " " + json.dumps(values, indent=indent, ensure_ascii=ascii_only) + "\n"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        data = json.dumps(values, indent=indent).encode()
    found = _elements(data, chunk)
    assert [json.loads(one.text) for one in found] == values
    assert [one.number for one in found] == [*range(1, len(values) + 1)]


@pytest.mark.parametrize("size", [10, 70_000, 300_000])
def test_an_element_of_any_length_is_read(size: int) -> None:
    values = [{"text": "x" * size, "n": 12345}, 17, {"text": "\u20ac" * size}]
    assert [json.loads(one.text) for one in _elements(json.dumps(values).encode(), 5000)] == values


@pytest.mark.parametrize(
    ("data", "before", "told"),
    [
        (b"{}", 0, "not a JSON array"),
        (b"[{}, {}", 2, "the array does not end"),
        (b'[{}, {"a": "b', 1, "element 2: Unterminated string"),
        (b"[{} {}]", 1, "expected a comma after element 1"),
        (b"[{}, oops, " + b"{}, " * 100_000, 1, "element 2: Expecting value"),
        (b"[{}, " + b"[" * 200_000, 1, "element 2 is nested too deeply"),
        (b"[{}, \xff]", 0, "not UTF-8"),
    ],
)
def test_a_faulty_array_gives_what_comes_before_the_fault(data: bytes, before: int, told: str) -> None:
    found: list[Line] = []
    with pytest.raises(DataError, match=told):
        found.extend(elements(io.BufferedReader(io.BytesIO(data)), "in.json"))  # type: ignore[arg-type]
    assert len(found) == before


def test_elements_on_several_lines_become_lines(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(rows(3), indent=2))
    do(fake, tmp_path / "in.json", tmp_path / "out.jsonl")
    do(fake, tmp_path / "in.json", tmp_path / "out.json")
    found = read_jsonl(tmp_path / "out.jsonl")
    assert [{key: row[key] for key in rows(1)[0]} for row in found] == rows(3)
    assert json.loads((tmp_path / "out.json").read_text()) == found
    do(fake, tmp_path / "in.json", tmp_path / "kept.jsonl", drop="answers")
    assert read_jsonl(tmp_path / "kept.jsonl") == rows(3)[1:]


def test_an_array_without_elements_stays_one(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text("[]")
    do(fake, tmp_path / "in.json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == []


@given(st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\n", b""))), st.integers(1, 20))
def test_lines_that_are_too_long_are_counted_and_not_held(texts: list[bytes], limit: int) -> None:
    found = {line.number: line for line in lines(io.BytesIO(b"\n".join(texts)), "in.jsonl", limit)}
    for number, text in enumerate(texts, 1):
        size = len(text.rstrip(b"\r"))
        if size > limit:
            assert "bytes, more than the" in str(found[number].error)
            assert (text + b"\n").startswith(found[number].text)
            assert len(found[number].text) <= limit + 2
        elif number in found:
            assert (found[number].text.rstrip(b"\n"), found[number].error) == (text, None)


def test_the_length_of_a_long_line_is_told() -> None:
    text = b"x" * 200_000 + b"\r\n"
    first, second = lines(io.BytesIO(text + text[:-2]), "in.jsonl", 10)
    assert first.error == second.error == "the row has 200000 bytes, more than the 10 of --max-row-bytes"


def test_several_formats_go_into_one_output(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(as_csv(rows(2)))
    (tmp_path / "b.jsonl").write_bytes(jsonl(rows(2)))
    pq.write_table(pa.Table.from_pylist(rows(2)), tmp_path / "c.parquet")
    do(fake, [tmp_path], tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["prompt"] for row in found] == [row["prompt"] for row in rows(2)] * 3
    with pytest.raises(DataError, match=r"a.csv is csv and .*c.parquet parquet; write JSONL"):
        do(fake, [tmp_path / "a.csv", tmp_path / "c.parquet"], tmp_path / "out.parquet")


def test_formats_compare_by_what_they_are() -> None:
    assert _formats.by_ending("a.jsonl.zst") == Format("jsonl", "zst")
    assert _formats.by_ending("a.parquet.gz") is None
    assert _formats.by_ending("a.txt") is None
