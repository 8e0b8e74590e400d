"""`demur score` of JSONL as a shell sees it."""

import json
import os
import subprocess
from pathlib import Path

import _cli
import pytest
from _cli import ANSWER, CHAT, COMMAND, REFUSAL, ROWS, Run, jsonl, refused

from demur import Classifier

run = _cli.run


def test_score_adds_each_lines_verdict(run: Run, model: Classifier) -> None:
    ran = run("score", "-", stdin=jsonl(*ROWS))
    assert (ran.status, ran.err) == (0, "")
    out = [json.loads(line) for line in ran.out.splitlines()]
    assert out == [row | {"demur": model.judge_row(row).to_dict()} for row in ROWS]
    assert [row["demur"]["refusal"] for row in out] == [True, False]


def test_score_reads_and_writes_files(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(jsonl(*ROWS))
    ran = run("score", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    assert ran == (0, "", "")
    assert (tmp_path / "out.jsonl").read_text() == run("score", "-", stdin=jsonl(*ROWS)).out
    assert (tmp_path / "in.jsonl").read_bytes() == jsonl(*ROWS)


def test_score_goes_on_after_a_bad_line_and_says_so_at_the_end(run: Run) -> None:
    data = jsonl(ROWS[0]) + b"nope\n" + jsonl({"a": 1}, ROWS[1])
    ran = run("score", "-", stdin=data)
    assert ran.status == 1
    assert ran.err == "demur: 2 of 4 lines could not be scored; see their demur.error\n"
    results = [json.loads(line)["demur"] for line in ran.out.splitlines()]
    assert [result.get("line") for result in results] == [None, 2, 3, None]
    assert [result.get("refusal") for result in results] == [True, None, None, False]


def test_score_can_judge_every_reply(run: Run, model: Classifier) -> None:
    messages = [*CHAT, {"role": "user", "content": "Of France?"}, {"role": "assistant", "content": ANSWER}]
    ran = run("score", "-", "--turns", "all", stdin=jsonl({"messages": messages}))
    expected = [{"turn": i, **verdict.to_dict()} for i, verdict in model.judge_replies(messages)]
    assert [turn["turn"] for turn in expected] == [1, 3]
    refusals = sum(turn["refusal"] for turn in expected)
    assert json.loads(ran.out)["demur"] == {"refusals": refusals, "turns": expected}


def test_score_takes_a_threshold(run: Run) -> None:
    ran = run("score", "-", "--threshold", "0", stdin=jsonl(ROWS[1]))
    assert json.loads(ran.out)["demur"]["refusal"] is True


def test_score_writes_the_same_with_any_number_of_workers(run: Run) -> None:
    rows = [{"id": i, "prompt": "Q " * i, "response": (REFUSAL, ANSWER, "")[i % 3]} for i in range(30)]
    alone = run("score", "-", "--workers", "1", stdin=jsonl(*rows))
    assert [json.loads(line)["id"] for line in alone.out.splitlines()] == list(range(30))
    assert run("score", "-", "--workers", "2", stdin=jsonl(*rows)) == alone


@pytest.mark.parametrize("name", ["in.jsonl", "./in.jsonl", "hard.jsonl", "soft.jsonl"])
def test_score_refuses_to_write_over_its_input(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_bytes(jsonl(*ROWS))
    os.link("in.jsonl", "hard.jsonl")
    os.symlink("in.jsonl", "soft.jsonl")
    refused(run("score", "in.jsonl", "-o", name), name, "is the input itself")
    assert Path("in.jsonl").read_bytes() == jsonl(*ROWS)


def test_score_refuses_to_write_over_the_file_it_is_fed_from(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS))
    with path.open("rb") as stdin:
        done = subprocess.run([*COMMAND, "score", "-", "-o", path], stdin=stdin, capture_output=True, timeout=60)
    assert done.returncode == 2
    assert b"is the input itself" in done.stderr
    assert path.read_bytes() == jsonl(*ROWS)


def test_score_leaves_the_output_alone_when_there_is_no_input(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("kept")
    refused(run("score", str(tmp_path / "missing"), "-o", str(tmp_path / "out.jsonl")))
    assert (tmp_path / "out.jsonl").read_text() == "kept"
