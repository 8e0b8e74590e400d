"""`demur score` and `demur filter` over files, as a shell sees them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _bulk import as_csv, jsonl, read_jsonl, rows

from demur import Classifier
from demur.cli import main

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "The capital of France is Paris."
TABLE = [
    {"id": i, "question": f"{i}?", "answer": (REFUSAL, ANSWER, "")[i % 3], "prompt": f"{i}?", "response": "x"}
    for i in range(6)
]
NAMED = ["--prompt-column", "question", "--response-column", "answer"]


def test_score_takes_named_columns_and_tells_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model: Classifier
) -> None:
    (tmp_path / "in.csv").write_bytes(as_csv(TABLE))
    assert main(["score", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.jsonl"), *NAMED]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"demur: {tmp_path}/in.csv: csv, prompt from question, response from answer",
        "demur: 2 of 6 rows could not be scored; see their demur.error",
    ]
    scores = [row["demur"].get("score") for row in read_jsonl(tmp_path / "out.jsonl")]
    expected = [
        model.check(str(row["answer"]), prompt=str(row["question"])).score if row["answer"] else None for row in TABLE
    ]
    assert scores == expected


def test_filter_counts_what_it_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(TABLE), tmp_path / "in.parquet")
    kept, out, errors = (tmp_path / name for name in ("kept.parquet", "out.csv", "errors.jsonl"))
    command = ["filter", str(tmp_path / "in.parquet"), "-o", str(kept), *NAMED]
    assert main([*command, "--rejected", str(out), "--errors", str(errors), "--id-column", "id"]) == 1
    assert pq.read_table(kept)["id"].to_pylist() == [1, 4]
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == ["id", "0", "3"]
    assert [(row["row"], row["id"], row["fields"]["answer"]) for row in read_jsonl(errors)] == [(3, 2, ""), (6, 5, "")]
    told = capsys.readouterr().err.splitlines()[1:]
    assert told == [
        f"demur: 2 rows kept, 2 refusals taken out (to {out}), 2 set aside in {errors}",
        f"demur: 2 of 6 rows could not be scored; see {errors}",
    ]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], [1, 2, 4, 5]),
        (["--drop", "answers"], [0, 2, 3, 5]),
        (["--threshold", "1"], [0, 1, 2, 3, 4, 5]),
        (["--operating-point", "high-recall"], [1, 2, 4, 5]),
    ],
)
def test_filter_keeps_what_could_not_be_scored(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], ids: list[int]
) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(TABLE))
    assert main(["filter", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), *NAMED, *options]) == 1
    found = read_jsonl(tmp_path / "out.jsonl")
    assert found == [TABLE[i] for i in ids]
    assert "they are kept; --errors FILE sets them aside" in capsys.readouterr().err


def test_a_conversation_with_any_refusal_is_one_where_all_replies_are_judged(tmp_path: Path) -> None:
    def chat(*replies: str) -> dict[str, object]:
        turns = [({"role": "user", "content": "Q"}, {"role": "assistant", "content": reply}) for reply in replies]
        return {"messages": [message for turn in turns for message in turn]}

    chats = [chat(REFUSAL, ANSWER), chat(ANSWER, ANSWER), chat(ANSWER, REFUSAL)]
    (tmp_path / "in.jsonl").write_bytes(jsonl(chats))
    for turns, expected in (("last", chats[:2]), ("all", [chats[1]])):
        assert main(["filter", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--turns", turns]) == 0
        assert read_jsonl(tmp_path / "out.jsonl") == expected


def test_an_unreadable_file_beside_others_is_told_by_the_status(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    (tmp_path / "b.jsonl").write_bytes(jsonl(rows(2)))
    assert main(["score", str(tmp_path), "-o", str(tmp_path / "out.jsonl")]) == 3
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 2
    assert f"demur: {tmp_path}/a.jsonl.gz: damaged or cut short: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["score", "IN", "--resume"], "--resume needs inputs and outputs that are files"),
        (["score", "IN", "-o", "OUT", "--resume", "--restart"], "give either --resume or --restart"),
        (["score", "IN", "-o", "OUT", "--output-format", "yaml"], "unknown format 'yaml'"),
        (["score", "IN", "--output-format", "parquet"], "parquet can't go to standard output"),
        (["score", "IN", "-o", "OUT", "--errors", "e.csv"], "errors are written as JSONL"),
        (["score", "IN", "-o", "OUT", "--prompt-column", "q"], "prompt or system is given without response"),
        (["score", "IN", "-o", "OUT", "--text-column", ""], "the name of the column of text is empty"),
        (["score", "-", "-o", "OUT", "--input-format", "parquet"], "parquet can't be read from standard input"),
        (["score", "IN", "-o", "OUT", "--max-errors", "0"], "1 rows could not be scored, more than --max-errors"),
        (["filter", "IN", "-o", "IN"], "is the input itself"),
        (["filter", "IN", "-o", "OUT", "--rejected", "OUT"], "is given for two outputs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"oops\n")
    names = {"IN": str(tmp_path / "in.jsonl"), "OUT": str(tmp_path / "out.jsonl"), "e.csv": str(tmp_path / "e.csv")}
    assert main([names.get(argument, argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_progress_can_be_read_by_a_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(rows(9)))
    main(["score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--progress", "json"])
    last = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")][-1]
    assert last.keys() == {"rows", "total", "rate", "seconds_left", "refusals", "errors"}
    assert (last["rows"], last["total"], last["errors"], last["seconds_left"]) == (9, 9, 3, 0)


@pytest.mark.slow
def test_sigterm_leaves_what_resume_goes_on_with(tmp_path: Path) -> None:
    table = [{"id": i, "prompt": f"Question {i}?", "response": f"Answer {i}. " * 40} for i in range(3000)]
    (tmp_path / "in.jsonl").write_bytes(jsonl(table))
    command = [sys.executable, "-m", "demur", "score", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl"]
    with subprocess.Popen([*command, "--progress", "json"], stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith(b"{"):  # the first rows are done
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told = process.stderr.read().decode()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert "demur: ended by SIGTERM; " in told
    assert "rows are done; the same command with --resume goes on" in told
    assert not (tmp_path / "out.jsonl").exists()
    with (tmp_path / "in.jsonl").open("ab") as stream:
        stream.write(b"\n")
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "can't go on, since this has changed: inputs[0].bytes was " in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--address", "auto"], "--address is that of a Ray cluster; it needs --engine ray"),
        (["--engine", "ray", "--resume", "--errors", "e.jsonl"], "--errors, --resume: not with --engine ray"),
        (["--engine", "ray", "--turns", "all"], "--engine ray judges last replies, on CPUs"),
        (["--engine", "ray"], "--engine ray writes a folder; name it with -o"),
    ],
)
def test_what_ray_has_not_is_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["score", "no-such-file.jsonl", *options]) == 2
    assert capsys.readouterr().err == f"demur: {said}\n"


def test_where_no_row_can_be_scored_the_first_reason_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl([{"question": "Q", "answer": "A"}, {"prompt": "Q"}]))
    assert main(["score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "demur: 2 of 2 lines could not be scored; see their demur.error"
    assert second.startswith("demur: none could; the first: unknown shape with the keys question, answer; ")
    assert second.endswith("; other names are given by --response-column, --prompt-column and so on")
    (tmp_path / "in.jsonl").write_bytes(jsonl([{"prompt": "Q", "response": ""}]))
    assert main(["filter", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]) == 1
    reason = "demur: none could; the first: the response is empty, so there is no reply to judge\n"
    assert capsys.readouterr().err.endswith(reason)
    (tmp_path / "in.jsonl").write_bytes(jsonl([{"prompt": "Q", "response": text} for text in ("", ANSWER)]))
    assert main(["score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]) == 1
    assert "none could" not in capsys.readouterr().err


def test_the_manifest_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(TABLE))
    script = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda event, about: opened.append(str(about[0])) if event == 'open' else None)\n"
        "from demur.cli import main; main(['score', *sys.argv[1:]])\n"
        "print(sum(name.endswith('demur.json') for name in opened))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
