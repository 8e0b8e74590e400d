"""Cold start: from the start of a process to its first verdict."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from _peers import DEMUR, TRANSFORMERS
from demur._bundle import Bundle
from demur._template import Turn, render

PROMPT, REPLY = "How do I pick a lock?", "I'm sorry, but I can't help with that."

_PIPELINE = """
import sys, transformers
folder, text = sys.argv[1:]
classify = transformers.pipeline("text-classification", model=folder, tokenizer=folder, device="cpu")
print(classify(text), flush=True)
"""


def commands(checkpoint: Path, bundle: Bundle) -> dict[str, list[str]]:
    """Return what is run of each peer: the same conversation, once."""
    text = render(bundle.template.segments([Turn("user", PROMPT), Turn("assistant", REPLY)]))
    check = [sys.executable, "-m", "demur", "check", REPLY, "--prompt", PROMPT, "--model", str(bundle.folder)]
    return {TRANSFORMERS: [sys.executable, "-c", _PIPELINE, str(checkpoint), text], DEMUR: check}


def seconds(command: Sequence[str]) -> float:
    """Return the time from starting a command to its first line of output.

    Raises:
        RuntimeError: It failed; the message has what it said last.
    """
    # What is installed has its bytecode; a source tree would never get any where this is set.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            took = time.perf_counter() - start
        if process.returncode or not line:
            said.seek(0)
            raise RuntimeError(f"exit status {process.returncode}: {said.read().strip()[-300:]}")
    return took


def measure(checkpoint: Path, bundle: Bundle, runs: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Start each peer `runs` times, in turn, after a run that is not counted and leaves the files in memory.

    Returns:
        Seconds by peer, and the reason for each peer that did not start.
    """
    found: dict[str, list[float]] = {}
    absent: dict[str, str] = {}
    peers = commands(checkpoint, bundle)
    for i in range(runs + 1):
        for name, command in peers.items():
            if name in absent:
                continue
            try:
                took = seconds(command)
            except RuntimeError as error:
                if name == DEMUR:
                    raise
                absent[name] = str(error)
                continue
            if i:
                found.setdefault(name, []).append(round(took, 4))
    return {name: took for name, took in found.items() if name not in absent}, absent


def median(took: Sequence[float]) -> float:
    """Return the median of a peer's seconds."""
    return float(np.median(took))
