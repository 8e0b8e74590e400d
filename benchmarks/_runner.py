"""Runs the scripts that answer one question each, one after the other, and says at the end what came of them."""

import argparse
import ast
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _needs import ABSENT, OUT

FOLDER = Path(__file__).resolve().parent
_PREFIX = "bench_"
# What makes each script short enough for a look at whether it runs; its figures then mean nothing.
QUICK = {
    "accuracy": ("--limit", "20"),
    "bulk": ("--rows", "24", "--rounds", "1"),
    "callers": ("--rounds", "1"),
    "function": ("--runs", "1"),
    "idle": ("--rounds", "1"),
    "latency": ("--rounds", "1"),
    "many": ("--texts", "32"),
    "memory": ("--texts", "200", "--runs", "1"),
    "parity": ("--texts", "20"),
    "ray": ("--rows", "24", "--rounds", "1", "--fill", "4"),
    "roof": ("--rounds", "3"),
    "sharing": ("--processes", "2", "--runs", "1"),
    "workers": ("--rounds", "1", "--texts", "32"),
}
RAN, FAILED, LACKING = "ran", "failed", "absent"


@dataclass(frozen=True)
class Question:
    """A script and what its source says of it.

    Attributes:
        name: The file's name without `bench_`, which is also that of its results.
        asks: The first line of its docstring.
        options: The names of its options.
        needed: Those that it can't run without.
    """

    name: str
    path: Path
    asks: str
    options: frozenset[str]
    needed: frozenset[str]


@dataclass(frozen=True)
class Outcome:
    """What came of a question.

    Attributes:
        came: `RAN`, `FAILED` or `LACKING`.
        where: Its results, or what it said last where it has none.
    """

    name: str
    came: str
    seconds: float
    where: str


def questions(folder: Path = FOLDER) -> list[Question]:
    """Return the questions of a folder, by name, without running any of its code."""
    return [_question(path) for path in sorted(folder.glob(f"{_PREFIX}*.py"))]


def _question(path: Path) -> Question:
    tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    options, needed = set(), set()
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        said = node.args[0]
        if node.func.attr == "add_argument" and isinstance(said, ast.Constant) and isinstance(said.value, str):
            options.add(said.value)
            if any(word.arg == "required" and ast.unparse(word.value) == "True" for word in node.keywords):
                needed.add(said.value)
    asks = (ast.get_docstring(tree) or "").partition("\n")[0]
    name = path.stem.removeprefix(_PREFIX)
    return Question(name, path, asks, frozenset(options), frozenset(needed))


def arguments(question: Question, given: dict[str, str], quick: bool) -> list[str]:
    """Return a script's own command line: of what was given, all that it has an option for."""
    made = [word for option, value in given.items() if option in question.options for word in (option, value)]
    return [*made, *(QUICK.get(question.name, ()) if quick else ())]


def run(question: Question, given: dict[str, str], quick: bool, out: Path) -> Outcome:
    """Run a script in a process of its own; its output goes where this one's goes.

    Args:
        question: What to run.
        given: Values by option; a script gets those that it knows.
        quick: Whether to run it as short as can be.
        out: The folder that its results go to.
    """
    lacking = question.needed - given.keys()
    if lacking:
        return Outcome(question.name, LACKING, 0.0, f"needs {', '.join(sorted(lacking))}")
    results = out / "results" / f"{question.name}.json"
    before = _changed(results)
    command = [sys.executable, str(question.path), *arguments(question, given, quick)]
    start, last = time.monotonic(), ""
    with subprocess.Popen(
        command, env=os.environ | {OUT: str(out)}, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            last = line.strip() or last
    took = time.monotonic() - start
    if process.returncode == 0:
        return Outcome(question.name, RAN, took, os.path.relpath(results) if _changed(results) != before else "–")
    # A script may import what it needs before it has a chance to say that it needs it.
    lacking_module = last.startswith("ModuleNotFoundError: ")
    came = LACKING if process.returncode == ABSENT or lacking_module else FAILED
    return Outcome(question.name, came, took, last or f"exit status {process.returncode}")


def _changed(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return a table of what ran, how long it took, and where its results are or why there are none."""
    names = max(len(outcome.name) for outcome in outcomes)
    lines = [f"{o.name:{names}}  {o.came:{len(FAILED)}}  {o.seconds:7.1f} s  {o.where}" for o in outcomes]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Run what was asked for; 1 if a script failed, 0 otherwise, also where one lacked what it needs."""
    known = questions(folder)
    names = max(len(question.name) for question in known)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run the benchmarks one by one; by default all of them.",
        epilog="questions:\n" + "\n".join(f"  {question.name:{names}}  {question.asks}" for question in known),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="which to run; see below")
    parser.add_argument("--checkpoint", metavar="FOLDER", help="what demur is compared on: a bundle's checkpoint")
    parser.add_argument("--data", metavar="FOLDER", help="real conversations; each script says what it makes of them")
    parser.add_argument(
        "--quick", action="store_true", help="only see whether they run; results go to a temporary folder"
    )
    chosen = parser.parse_args(argv)
    by_name = {question.name: question for question in known}
    for name in chosen.questions:
        if name not in by_name:
            parser.error(f"{name}: no such question; there are {', '.join(by_name)}")
    given = {f"--{key}": value for key in ("checkpoint", "data") if (value := getattr(chosen, key)) is not None}
    out = Path(tempfile.mkdtemp(prefix="demur-benchmarks-")) if chosen.quick else folder
    outcomes = []
    for name in chosen.questions or by_name:
        print(f"== {name}: {by_name[name].asks}", flush=True)
        outcomes.append(run(by_name[name], given, chosen.quick, out))
    print(f"\n{summary(outcomes)}", flush=True)
    return int(any(outcome.came == FAILED for outcome in outcomes))
