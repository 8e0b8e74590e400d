"""`score_table` of a path: the files that `demur score` reads, found and told apart in the same way."""

import json
from pathlib import Path

import pytest
from _bulk import do

import demur
from demur import Classifier
from demur.errors import DataError

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
zstandard = pytest.importorskip("zstandard", reason="needs zstandard")

REPLIES = ["I'm sorry, no.", "Paris.", "I'm sorry.", "", None]
COLUMNS = {
    "id": [7, 8, 9, 10, 11],
    "prompt": ["Pick a lock?", "Capital of France?", None, "Again?", "More?"],
    "response": REPLIES,
}
MIXED = [
    {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "I'm sorry."}]},
    {"prompt": "Q", "response": "Sure."},
    {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "I'm sorry."}]},
    {"instruction": "Q", "output": "Yes.", "input": "It."},
    {"text": "<|user|>Q<|assistant|>I'm sorry."},
]


def _written(folder: Path, ending: str) -> Path:
    table, path = pyarrow.table(COLUMNS), folder / f"rows{ending}"
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif ending == ".feather":
        pyarrow.feather.write_feather(table, path)
    elif ending == ".arrow":  # as a saved data set's are
        with pyarrow.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    elif ending in (".jsonl", ".jsonl.gz"):
        text = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
        with pyarrow.output_stream(path) as stream:
            stream.write(text.encode())
    else:
        delimiter = "\t" if ending == ".tsv" else ","
        pyarrow.csv.write_csv(table, path, pyarrow.csv.WriteOptions(delimiter=delimiter))
    return path


@pytest.mark.parametrize("ending", [".parquet", ".feather", ".arrow", ".jsonl", ".jsonl.gz", ".csv", ".tsv"])
def test_a_file_is_read_as_a_table(fake: Classifier, tmp_path: Path, ending: str) -> None:
    for module in ("parquet", "feather", "csv"):
        pytest.importorskip(f"pyarrow.{module}")
    scored = demur.score_table(_written(tmp_path, ending), model=fake)
    assert scored["id"].to_pylist() == COLUMNS["id"]
    assert scored["demur_refusal"].to_pylist()[:2] == [True, False]
    assert scored["demur_error"].is_valid().to_pylist() == [False, False, False, True, True]


def test_replies_of_a_csv_file_are_text_whatever_they_look_like(fake: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,answer,n\n2+2?,4,1\n"one\ntwo",5,2\n')
    scored = demur.score_table(path, model=fake, prompt="prompt", response="answer")
    assert scored["answer"].to_pylist() == ["4", "5"]
    assert scored["n"].to_pylist() == [1, 2]
    assert scored["demur_error"].null_count == 2


def test_a_row_of_megabytes_is_read_from_jsonl(fake: Classifier, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "response": "long " * 800_000}) + "\n")
    assert demur.score_table(path, model=fake)["demur_elided"].to_pylist()[0] > 500_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.parquet", b"PAR1 no", "rows.parquet: .*"),
        ("rows.xlsx", b"PK\x03\x04\x14\0", "rows.xlsx: its contents and its ending are of no known format"),
        ("rows.csv", "text\n".encode("utf-16"), "rows.csv: is UTF-16, expected UTF-8; convert it"),
        ("rows.parquet", None, "rows.parquet: no such file"),
        ("rows.jsonl", b'{"prompt": \n', "rows.jsonl: JSON parse error: .*; demur score gives such rows"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    fake: Classifier, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        demur.score_table(tmp_path / name, model=fake)


def test_the_format_is_that_of_the_contents(fake: Classifier, tmp_path: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in pyarrow.table(COLUMNS).to_pylist())
    (tmp_path / "rows").write_text(text)
    (tmp_path / "packed.jsonl.zst").write_bytes(zstandard.compress(text.encode()))
    (tmp_path / "array.json").write_text(json.dumps([json.loads(line) for line in text.splitlines()], indent=1))
    pyarrow.parquet.write_table(pyarrow.table(COLUMNS), tmp_path / "really.csv")
    (tmp_path / "semicolons.csv").write_bytes(b"\xef\xbb\xbfprompt;response\r\nQ;I'm sorry.\r\n")
    for name in ("rows", "packed.jsonl.zst", "array.json", "really.csv"):
        scored = demur.score_table(tmp_path / name, model=fake)
        assert scored["demur_refusal"].to_pylist() == [True, False, True, None, None], name
        assert scored["id"].to_pylist() == COLUMNS["id"]
    assert demur.score_table(tmp_path / "semicolons.csv", model=fake)["demur_refusal"].to_pylist() == [True]


def test_a_folder_or_a_glob_is_one_table(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"response": "I'm sorry.", "prompt": "Q"}) + "\n")
    (tmp_path / "b.csv").write_text("id,prompt,response\n1,Q,Sure.\n")
    for path in (tmp_path, tmp_path / "*"):
        scored = demur.score_table(path, model=fake)
        assert scored["demur_refusal"].to_pylist() == [True, False]
        assert scored["id"].to_pylist() == [None, 1]
    (tmp_path / "c.jsonl").write_text(json.dumps({"response": ["list"], "prompt": "Q"}) + "\n")
    with pytest.raises(DataError, match="its files make no one table"):
        demur.score_table(tmp_path, model=fake)


def test_rows_of_different_shapes_are_recognised_as_the_command_does(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in MIXED))
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    lines = [json.loads(line)["demur"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    scored = demur.score_table(tmp_path / "in.jsonl", model=fake)
    assert scored["demur_score"].to_pylist() == [line.get("score") for line in lines]
    assert [line.get("refusal") for line in lines] == [True, False, True, False, True]
    pyarrow.parquet.write_table(scored, tmp_path / "in.parquet")
    do(fake, tmp_path / "in.parquet", tmp_path / "out.parquet")
    again = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert again["demur_score"].to_pylist() == scored["demur_score"].to_pylist()
    assert demur.score_table(again, model=fake).column_names == scored.column_names
