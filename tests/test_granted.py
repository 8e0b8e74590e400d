"""No more threads than this machine grants, in every way that a process may come to be, and the same answers."""

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import demur
from demur import Classifier, _machine
from demur.testing import fake_classifier

linux = pytest.mark.skipif(sys.platform != "linux", reason="cgroups and affinity are Linux's")
REFUSAL = "I'm sorry, but I can't help with that."
# Prints how many threads there were at most while more were asked for than any machine has.
_THREADS = """
import json, os, time, demur
def threads(): return len(os.listdir("/proc/self/task"))
import onnxruntime, tokenizers
before = threads()
model = demur.load(threads=64)
model.check("No.")
# What loading began has ended, but the system may yet have to take its threads away.
until = time.monotonic() + 5
while threads() > before and time.monotonic() < until:
    time.sleep(0.01)
loaded = threads()
most = max(threads() for _ in model.stream(["No."] * 30, workers=64))
print(json.dumps([before, loaded, most]))
"""
_DOCTOR = "import sys; from demur.cli import main; sys.exit(main(['doctor', '--json']))"


def python(*prefix: str, script: str) -> Any:
    """What a script prints as JSON, started by a command before it."""
    done = subprocess.run([*prefix, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def taskset() -> list[str]:
    if shutil.which("taskset") is None:
        pytest.skip("there is no taskset here")
    return ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


@linux
def test_one_processor_given_by_taskset_means_one_thread() -> None:
    before, loaded, most = python(*taskset(), script=_THREADS)
    assert loaded == before
    assert most == before


@linux
def test_doctor_tells_what_taskset_left() -> None:
    cores = python(*taskset(), script=_DOCTOR)["cores"]
    assert (cores["affinity"], cores["granted"]) == (1, 1)
    assert cores["limit"] == "all that this process may be scheduled on"


@pytest.fixture
def half_a_processor() -> Iterator[list[str]]:
    """A command that starts another in a cgroup with a quota of half a processor."""
    first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    group = (first if first.is_dir() else second) / f"demur-test-{os.getpid()}"
    limits = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        for name, value in limits.items() if first.is_dir() else [("cpu.max", "50000 100000")]:
            (group / name).write_text(value)
        (group / "cgroup.procs").read_text()
        yield ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh"]
    except OSError as error:
        pytest.skip(f"no cgroup can be limited here: {error}")
    finally:
        group.rmdir()


@linux
def test_a_cgroups_quota_means_one_thread_and_doctor_tells(half_a_processor: list[str]) -> None:
    cores = python(*half_a_processor, script=_DOCTOR)["cores"]
    assert (cores["quota"], cores["granted"]) == (0.5, 1)
    assert cores["limit"] == "its cgroup's quota, rounded up"


@pytest.mark.parametrize(
    ("allowed", "scheduled", "words"),
    [
        (None, 4, "all that this process may be scheduled on"),
        (4.5, 4, "all that this process may be scheduled on"),
        (4.0, 4, "all that this process may be scheduled on"),
        (1.0, 4, "its cgroup's quota, rounded down"),
        (3.5, 4, "its cgroup's quota, rounded down"),
        (0.5, 4, "its cgroup's quota, rounded up"),
    ],
)
def test_what_decides_is_told(allowed: float | None, scheduled: int, words: str) -> None:
    assert _machine.limit(allowed, scheduled) == words


@pytest.mark.parametrize(("cores", "asked", "granted"), [(2, None, 2), (2, 1, 1), (2, 8, 2), (1, 2, 1)])
def test_the_users_word_counts_up_to_what_is_granted(
    monkeypatch: pytest.MonkeyPatch, cores: int, asked: int | None, granted: int
) -> None:
    monkeypatch.setattr(_machine, "cores", lambda: cores)
    assert _machine.granted(asked) == granted
    at_once, most, lock = 0, 0, threading.Lock()

    def score(_: str) -> float:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with lock:
            at_once -= 1
        return 0.5

    list(fake_classifier(score).stream(["x"] * 20, workers=asked))
    assert most == granted


def test_a_pickled_model_takes_no_more_than_its_new_machine_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def opening(cores: int) -> Classifier:
        monkeypatch.setattr(_machine, "cores", lambda: cores)
        return pickle.loads(pickled)  # type: ignore[no-any-return]

    pickled = pickle.dumps(demur.load(threads=2))
    for cores in (1, 2):
        model = opening(cores)
        opened.append(model._session._threads)  # type: ignore[attr-defined]
        assert model.check(REFUSAL).refusal
    assert opened == [1, 2]


def _logits(check: Callable[[str], demur.Verdict], text: str) -> tuple[float, ...]:
    return check(text).logits


@pytest.mark.slow
@linux
@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_other_processes_get_the_same_bits(start: str) -> None:
    model = demur.load()
    with multiprocessing.get_context(start).Pool(2) as pool:
        found = [pool.apply_async(_logits, (model.check, REFUSAL)) for _ in range(4)]
        assert [one.get(timeout=300) for one in found] == [model.check(REFUSAL).logits] * 4


def test_eight_callers_of_one_model_get_the_same_bits() -> None:
    model = demur.load()
    texts = [f"{REFUSAL} {'Really. ' * i}" for i in range(8)]
    expected = [model.check(text).logits for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: [model.check(text).logits for _ in range(5)], texts))
    assert found == [[logits] * 5 for logits in expected]
