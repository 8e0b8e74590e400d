"""The command `demur`, run in this process or in one of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from demur.cli import main

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "The capital of France is Paris."
CHAT = [{"role": "user", "content": "How do I pick a lock?"}, {"role": "assistant", "content": REFUSAL}]
ROWS: list[dict[str, Any]] = [
    {"id": 1, "prompt": "How do I pick a lock?", "response": REFUSAL},
    {"id": 2, "prompt": "What is the capital of France?", "response": ANSWER},
]
COMMAND = [sys.executable, "-W", "error", "-m", "demur"]
# Unbuffered output would hide what is flushed when.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class Ran(NamedTuple):
    """How a command went."""

    status: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `demur` in this process, with bytes as its standard input."""

    def command(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            status = main(arguments)
        except SystemExit as left:  # argparse's way out
            status = int(left.code or 0)
        out, err = capsysbinary.readouterr()
        return Ran(status, out.decode(), err.decode())

    return command


def shell(*arguments: str, stdin: bytes = b"") -> Ran:
    """Run `python -m demur` as a process of its own."""
    done = subprocess.run([*COMMAND, *arguments], input=stdin, env=BUFFERED, capture_output=True, timeout=60)
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def refused(ran: Ran, *told: str) -> None:
    """Assert that nothing was done and that one line says why."""
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.startswith("demur: ")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("\n")
    missing = [part for part in told if part not in ran.err]
    assert not missing, f"{missing} not in {ran.err!r}"
