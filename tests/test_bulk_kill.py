"""However often a run is killed, what it goes on to write is what an uninterrupted run writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_no_row_is_lost_or_doubled_by_a_kill(kind: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("_kill.py")
    done = subprocess.run(
        [sys.executable, script, kind, "6", "7", tmp_path, "4000"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] == 6
    assert told["resumed"] > 0
    assert told["same"]
    assert told["left"] == [f"out.{kind}"]
