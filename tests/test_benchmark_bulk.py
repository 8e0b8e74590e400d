"""What the benchmarks of files and of Ray make of their seconds, and how their jobs are run, kept and watched."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the sdist", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

import _bulk_page
import _needs
import _ray_estimate
import _tree_memory
import bench_ray
from _ray_estimate import Measured


def met(seconds: dict[str, list[float]]) -> list[bool | None]:
    return [aim.met for aim in _bulk_page.targets(seconds)]


def test_files_are_compared_with_memory_round_by_round() -> None:
    seconds = {
        "stream, 1": [19.0, 38.0],
        "stream, 2": [9.5, 20.0],
        "jsonl, 2": [10.0, 20.0],
        "parquet, 2": [10.1, 22.0],
    }

    assert met(seconds) == [True, False, True]
    assert met({**seconds, "stream, 1": [17.0, 37.0]})[2] is False


def test_a_way_that_no_round_reached_is_not_measured() -> None:
    seconds: dict[str, list[float]] = {"stream, 2": [9.5, 9.7], "jsonl, 2": [10.0], "parquet, 2": [], "stream, 1": []}

    assert met(seconds) == [True, None, None]
    assert _bulk_page.rates(seconds, 100) == {"stream, 2": 10.42, "jsonl, 2": 10.0}


def record(**changes: Any) -> dict[str, Any]:
    ways = [_bulk_page.key(way, workers) for way in ("stream", "jsonl", "csv", "parquet") for workers in (1, 2)]
    ways.append("transformers, 2")
    seconds: dict[str, list[float]] = {way: [10.0, 10.0] for way in ways} | {"transformers, 2": [45.0, 55.0]}
    return {
        "machine": {"command": "bench", "date": "2026-01-01T", "cpu": "a CPU", "cores": 2, "versions": {}},
        "rows": 500,
        "peers": {"transformers": {"size": 8, "sorted": True}},
        "absent": {"optimum_int8": "ImportError: no optimum"},
        "seconds": seconds,
        "peak_mb": {way: [100.0, 120.0] for way in ways},
        "rows_per_second": _bulk_page.rates(seconds, 500),
    } | changes


def test_the_page_shows_peers_at_their_best_and_says_who_is_absent() -> None:
    said = _bulk_page.markdown(record(), [])

    assert "| transformers pipeline | 8, sorted by length | 10.0 | 120 | 5.00 |" in said
    assert "Absent: optimum pipeline, int8 (ImportError: no optimum)." in said


def test_the_page_can_be_made_of_an_interrupted_first_round() -> None:
    said = _bulk_page.markdown(
        record(seconds={"stream, 1": [10.0]}, rows_per_second={"stream, 1": 50.0}, peak_mb={}), []
    )

    assert "| `model.stream`, rows in memory | 50.0 | – | – | – |" in said
    assert "transformers pipeline |" not in said


def test_a_jobs_memory_is_that_of_all_its_processes() -> None:
    allocate = "import time; held = bytearray(60_000_000); time.sleep(2)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {allocate!r}]); print('done')"

    out, most = _tree_memory.run([sys.executable, "-c", parent])
    assert out == "done\n"
    assert 60 < most < 150


def test_a_job_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"^ValueError: no such luck$"):
        _tree_memory.run([sys.executable, "-c", "raise ValueError('no such luck')"])


def test_what_was_measured_is_kept_though_the_run_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, bench_bulk\n"
        "ended = []\n"
        "def job():\n"
        "    if ended: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    ended.append(1)\n"
        "    return {'seconds': 2.0}, 50.0\n"
        "record = {'rows': 10, 'seconds': {'a': [], 'b': []}, 'peak_mb': {'a': [], 'b': []}}\n"
        "bench_bulk.measure({'a': job, 'b': job}, record, 1, 0.0)\n"
    )
    environment = os.environ | {_needs.OUT: str(tmp_path), "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), *sys.path])}
    subprocess.run([sys.executable, "-c", code], env=environment, check=False)

    kept = json.loads((tmp_path / "results" / "bulk.json").read_text())
    assert sorted(kept["seconds"].values()) == [[], [2.0]]
    assert list(kept["rows_per_second"].values()) == [5.0]


def test_rays_overhead_is_told_apart_from_what_a_job_costs() -> None:
    seconds = {"plain": [10.0, 10.0], "ray": [17.0, 17.0], "ray, one row": [6.0, 6.0]}

    found = bench_ray.summary(seconds, 1001, workers=2)
    assert found["job_seconds"] == 6.0
    assert found["ray_once_begun"] == 90.91  # 1,000 rows in the 11 seconds that the others take longer than the one
    assert found["per_core"] == 45.45
    assert found["overhead"] == pytest.approx(1 - 90.91 / 100.1, abs=0.001)


MEASURED = Measured(40.0, 1_000.0, 1_250.0, counted=5e6, read=1e6, written=4e5, file=4e6)


def test_a_billion_rows_take_their_rate_times_the_cores_and_the_pass_before() -> None:
    found = _ray_estimate.estimate(MEASURED, 10**9, 1000)

    assert found.core_hours == pytest.approx(1e9 / 40 / 3600)
    assert found.counting_hours == pytest.approx(1e9 / 1e7 / 3600)
    assert found.hours == pytest.approx(found.core_hours / 1000 + found.counting_hours)
    assert found.files == 312_500


def test_the_part_that_saturates_first_is_named_first_and_limits() -> None:
    found = _ray_estimate.estimate(MEASURED, 10**9, 100_000)

    (first, cores), *_ = found.limits
    assert (first, cores) == ("one 10 Gbit/s way to the storage", 13_888)
    assert found.hours == pytest.approx(1e9 / (1.25e9 / 2250) / 3600 + found.counting_hours)
    slow = Measured(40.0, 1_000.0, 1_250.0, counted=5e6, read=1e6, written=1e4, file=4e6)
    assert _ray_estimate.estimate(slow, 10**9, 1000).limits[0] == ("2 tasks that write", 500)
