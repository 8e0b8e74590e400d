"""`python -m demur` as a process: terminals, pipes, interrupts."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from _cli import ANSWER, BUFFERED, COMMAND, REFUSAL, ROWS, jsonl, refused, shell


def test_python_m_demur_is_the_command() -> None:
    ran = shell("check", REFUSAL, "--exit-code")
    assert (ran.status, ran.err) == (1, "")
    assert ran.out.startswith("refusal  ")


def test_a_fault_is_one_line_and_status_2() -> None:
    refused(shell("check", "x", "--model", "no-such-model"), "'no-such-model'")


def test_a_reply_that_is_no_text_at_all_is_judged() -> None:
    ran = shell("check", os.fsdecode(b"sorry \xff"), "--prompt", os.fsdecode(b"\xfe"))
    assert (ran.status, ran.err) == (0, "")


def test_score_shows_no_progress_where_there_is_no_terminal() -> None:
    ran = shell("score", "-", stdin=jsonl(*ROWS))
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("\n") == 2


@pytest.mark.parametrize(("command", "collects"), [(["check", "Sure!"], False), (["score", "-"], True)])
def test_garbage_is_collected_but_in_the_shortest_of_commands(command: list[str], collects: bool) -> None:
    program = "import gc, sys; from demur.__main__ import main; main(); print(gc.isenabled())"
    ran = subprocess.run([sys.executable, "-c", program, *command], input=jsonl(*ROWS), capture_output=True, check=True)
    assert ran.stdout.decode().splitlines()[-1] == str(collects)


def _on_a_terminal(*arguments: str) -> tuple[int, str, str]:
    """Run a command whose stderr is a terminal; return its status, its output and what the terminal showed."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    with open(ours, "rb", buffering=0) as terminal, process:
        try:
            while piece := terminal.read(1024):
                shown += piece
        except OSError:  # Linux: the other end is closed
            pass
        out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), shown.decode()


def test_score_shows_progress_on_a_terminal_and_keeps_it_out_of_the_output(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS) + b"\nnope\n")
    status, out, shown = _on_a_terminal("score", str(path))
    assert status == 1
    assert out == shell("score", str(path)).out
    assert "3/3" in shown
    assert "100%" in shown
    assert "errors=1" in shown
    assert "refusals=1" in shown


@pytest.mark.parametrize("workers", ["1", "2"])
def test_score_hands_out_a_verdict_before_the_next_line_comes_in(workers: str) -> None:
    command = [*COMMAND, "score", "-", "--workers", workers]
    with subprocess.Popen(command, env=BUFFERED, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(20, process.kill)  # so that a verdict held back fails the test and does not hang it
        late.start()
        for row in ROWS:
            process.stdin.write(jsonl(row))
            process.stdin.flush()
            assert json.loads(process.stdout.readline() or b"{}").get("id") == row["id"]
        late.cancel()
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("leaves", [True, False])
def test_score_ends_while_it_waits_for_a_line(leaves: bool) -> None:
    process = subprocess.Popen(
        [*COMMAND, "score", "-", "--workers", "2"],
        env=BUFFERED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(jsonl(ROWS[0]))
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(0.3)  # from writing that line to waiting for the next
        if leaves:
            process.stdout.close()
            process.stdin.write(jsonl(ROWS[0]) * 3)
            process.stdin.flush()
        else:
            process.send_signal(signal.SIGINT)
        status = process.wait(timeout=30)
        assert (status, process.stderr.read()) == ((2, b"") if leaves else (130, b"demur: interrupted\n"))


def test_a_reader_that_leaves_early_ends_score_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(jsonl(*ROWS) * 2000)
    process = subprocess.Popen([*COMMAND, "score", path], env=BUFFERED, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == 1
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 2


def test_a_reader_that_is_not_there_ends_check_without_a_word() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, "check", ANSWER], env=BUFFERED, stdout=write_end, stderr=subprocess.PIPE, timeout=60
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (2, b"")


def test_an_interrupt_ends_score_with_130_and_keeps_what_was_written() -> None:
    # A shell's background job ignores interrupts, and so would its children.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import runpy"
    program += "; runpy.run_module('demur', run_name='__main__')"
    with subprocess.Popen(
        [sys.executable, "-c", program, "score", "-", "--workers", "2"],
        env=BUFFERED,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(jsonl(*ROWS) * 8)
        process.stdin.flush()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"demur: interrupted\n"
    assert all("demur" in json.loads(line) for line in (first + rest).splitlines())
