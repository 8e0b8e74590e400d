"""Parquet and Arrow in, the same tables with verdicts out: all other columns with their types, a little at a time."""

import datetime
import decimal
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _bulk import as_csv, do, jsonl, read_jsonl, rows
from pyarrow import feather, ipc

from demur import Classifier
from demur.errors import DataError


def _table(n: int = 500) -> pa.Table:
    """A table of many types, whose texts are those of `rows`."""
    when = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
    metadata = {"source": "logs", "huggingface": '{"info": {}}'}
    columns: dict[str, Any] = {
        **{key: [row[key] for row in rows(n)] for key in ("id", "prompt", "response")},
        "when": pa.array([when, None] * (n // 2), pa.timestamp("us", "Europe/Berlin")),
        "day": pa.array([when.date()] * n, pa.date32()),
        "cost": pa.array([decimal.Decimal("1.10"), None] * (n // 2), pa.decimal128(10, 2)),
        "lang": pa.array(["de", None, "en", f"x{n}"] * (n // 4)).dictionary_encode(),
        "nested": pa.array([{"a": [1, None], "b": {"c": "d"}}, None] * (n // 2)),
        "tags": pa.array([[("k", 1)], []] * (n // 2), pa.map_(pa.string(), pa.int8())),
        "blob": pa.array([b"\x00\xff", None] * (n // 2), pa.large_binary()),
        "small": pa.array([1, 2] * (n // 2), pa.uint8()),
        "nothing": pa.nulls(n),
    }
    fields = pa.schema(
        [pa.field(name, pa.array(column).type, metadata={"of": name}) for name, column in columns.items()],
        metadata=metadata,
    )
    return pa.table(columns, schema=fields)


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=120, compression="zstd")
    elif path.suffix == ".arrow":
        with ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=90)
    else:
        feather.write_feather(table, path, chunksize=90)


def _read(path: Path) -> pa.Table:
    return pq.read_table(path) if path.suffix == ".parquet" else ipc.open_file(path).read_all()


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow"])
@pytest.mark.parametrize("workers", [1, 3])
def test_all_other_columns_and_their_types_are_kept(
    fake: Classifier, tmp_path: Path, ending: str, workers: int
) -> None:
    _write(_table(), tmp_path / f"in.{ending}")
    told: list[str] = []
    report = do(fake, tmp_path / f"in.{ending}", tmp_path / f"out.{ending}", workers=workers, tell=told.append)
    found = _read(tmp_path / f"out.{ending}")
    table = _table() if ending == "arrow" else _read(tmp_path / f"in.{ending}")
    assert found.select(table.column_names).equals(table, check_metadata=True)
    assert found.schema.metadata == table.schema.metadata
    assert found["demur_refusal"].to_pylist() == [(False, True, None)[i % 3] for i in range(500)]
    assert found["demur_error"].null_count == 334
    assert (report.tally.lines, report.tally.refusals, report.tally.failed) == (500, 167, 166)
    assert told == [f"{tmp_path}/in.{ending}: {'parquet' if ending == 'parquet' else 'arrow'}, prompt, response"]


def test_scores_do_not_depend_on_the_format(model: Classifier, tmp_path: Path) -> None:
    table = rows(9)
    (tmp_path / "in.jsonl").write_bytes(jsonl(table))
    (tmp_path / "in.csv").write_bytes(as_csv(table))
    (tmp_path / "in.json").write_bytes(json.dumps(table).encode())
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "in.parquet")
    feather.write_feather(pa.Table.from_pylist(table), tmp_path / "in.feather")
    found = set()
    for source in sorted(tmp_path.iterdir()):
        for out in ("out.jsonl", "out.parquet"):
            do(model, source, tmp_path / out, workers=2)
        scores = [row["demur"].get("score") for row in read_jsonl(tmp_path / "out.jsonl")]
        assert pq.read_table(tmp_path / "out.parquet")["demur_score"].to_pylist() == scores
        found.add(tuple(scores))
    assert len(found) == 1
    assert found.pop()[:2] == tuple(model.judge_row(row).score for row in table[:2])


def test_all_replies_are_a_list_of_records(fake: Classifier, tmp_path: Path) -> None:
    chat = [{"role": role, "content": text} for role, text in (("user", "Q"), ("assistant", "Sure."), ("user", "R"))]
    chat.append({"role": "assistant", "content": "I'm sorry."})
    pq.write_table(pa.table({"messages": [chat, chat[:1]]}), tmp_path / "in.parquet")
    do(fake, tmp_path / "in.parquet", tmp_path / "out.parquet", every=True)
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(turn["turn"], turn["refusal"]) for turn in found[0]["demur_turns"]] == [(1, False), (3, True)]
    assert [row["demur_refusals"] for row in found] == [1, None]
    assert found[1]["demur_error"] == "no assistant turn has text, so there is no reply to judge"


def test_an_old_result_makes_way(fake: Classifier, tmp_path: Path) -> None:
    _write(_table(), tmp_path / "in.parquet")
    do(fake, tmp_path / "in.parquet", tmp_path / "once.parquet")
    do(fake, tmp_path / "once.parquet", tmp_path / "twice.parquet")
    assert _read(tmp_path / "twice.parquet").equals(_read(tmp_path / "once.parquet"))


def test_kept_and_rejected_rows_make_up_the_table(fake: Classifier, tmp_path: Path) -> None:
    _write(_table(), tmp_path / "in.parquet")
    table = _read(tmp_path / "in.parquet")
    do(fake, tmp_path / "in.parquet", tmp_path / "kept.parquet", drop="refusals", rejected=tmp_path / "out.parquet")
    kept, out = _read(tmp_path / "kept.parquet"), _read(tmp_path / "out.parquet")
    assert kept.equals(table.filter(pa.array([i % 3 != 1 for i in range(500)])), check_metadata=True)
    assert out.select(table.column_names).equals(table.filter(pa.array([i % 3 == 1 for i in range(500)])))
    assert out["demur_refusal"].to_pylist() == [True] * 167


def test_objects_become_a_table_and_what_is_none_keeps_its_text(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(3)) + b"oops\n")
    do(fake, tmp_path / "in.jsonl", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["prompt"] for row in found] == [*(row["prompt"] for row in rows(3)), None]
    assert [row["demur_raw"] for row in found] == [None, None, None, "oops"]


def test_objects_that_make_no_table_are_refused_with_a_way_out(fake: Classifier, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl([{**rows(1)[0], "a": 1}, {**rows(1)[0], "a": "x"}]))
    told = r"these rows don't make a table: the column 'a' has values of several types \(.*\); write JSONL instead"
    with pytest.raises(DataError, match=told):
        do(fake, tmp_path / "in.jsonl", tmp_path / "out.parquet")


def test_tables_of_other_types_are_refused_before_anything_is_done(fake: Classifier, tmp_path: Path) -> None:
    for name, kind in (("a", pa.int32()), ("b", pa.int64())):
        table = pa.table({"prompt": ["Q"], "response": ["A"], "n": pa.array([1], kind)})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"b.parquet: its column 'n' is int64, in .*a.parquet it is int32"):
        do(fake, [tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path / "out.parquet")


def test_a_table_without_rows_stays_one(fake: Classifier, tmp_path: Path) -> None:
    pq.write_table(_table().slice(0, 0), tmp_path / "in.parquet")
    do(fake, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = _read(tmp_path / "out.parquet")
    assert (len(found), found.column_names[-1]) == (0, "demur_error")


def test_a_saved_data_set_is_read(fake: Classifier, tmp_path: Path) -> None:
    for split, n in (("train", 5), ("test", 3)):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        files = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
        for name in files:
            _write(pa.Table.from_pylist(rows(n)), folder / name)
        state = {"_data_files": [{"filename": name} for name in files], "_split": split}
        (folder / "state.json").write_text(json.dumps(state))
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    do(fake, tmp_path / "saved" / "train", tmp_path / "out.jsonl")
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [0, 1, 2, 3, 4] * 2
    do(fake, tmp_path / "saved", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [*range(5)] * 2 + [*range(3)] * 2


def test_a_row_group_is_not_read_as_a_whole(tmp_path: Path) -> None:
    # In a process of its own, since what this one has taken is not given back.
    import numpy as np

    noise = np.random.default_rng(0).bytes(200_000_000)
    text = pa.array([noise[i : i + 1000].hex() for i in range(0, len(noise), 1000)])
    table = pa.table({"prompt": pa.nulls(len(text), pa.string()), "response": text})
    pq.write_table(table, tmp_path / "in.parquet", use_dictionary=False)
    assert pq.read_metadata(tmp_path / "in.parquet").num_row_groups == 1
    script = (
        "import sys; from pathlib import Path; from demur._bulk import _tables\n"
        "from demur._bulk._packing import Consumed\n"
        "n = sum(1 for _ in _tables.rows(Path(sys.argv[1]), '', 'parquet', ['response'], Consumed()))\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(n, int(peak.split()[1]) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "in.parquet"], capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, done.stdout.split())
    assert count == 200_000
    assert megabytes < 250


def test_without_pyarrow_the_message_tells_what_to_install(tmp_path: Path) -> None:
    pq.write_table(_table(4), tmp_path / "in.parquet")
    script = (
        "import sys; sys.modules['pyarrow'] = None; from demur.cli import main\n"
        "sys.exit(main(['score', sys.argv[1], '-o', sys.argv[1] + '.jsonl']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "in.parquet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.match(r"demur: a Parquet (or Arrow )?file needs pyarrow: pip install 'demur\[data\]' ", done.stderr)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_each_row_of_several_row_groups_keeps_its_own_verdict(fake: Classifier, tmp_path: Path, ending: str) -> None:
    """Verdicts become columns a thousand at a time, and a row group when there are enough rows."""
    table = [row | {"response": "I'm sorry." if row["id"] % 7 == 0 else "Sure."} for row in rows(20_000)]
    source, out = tmp_path / f"in.{ending}", tmp_path / "out.parquet"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(table), source)
    else:
        source.write_bytes(jsonl(table))
    do(fake, source, out)
    assert 1 < pq.read_metadata(out).num_row_groups < 10
    found = _read(out)
    assert found["id"].to_pylist() == list(range(20_000))
    assert found["demur_refusal"].to_pylist() == [i % 7 == 0 for i in range(20_000)]
