"""The figures that CI shows beside its tests: a line a length, whatever the machine is busy with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "above_bare.py"
if not SCRIPT.exists():
    pytest.skip("the benchmarks are not in the sdist", allow_module_level=True)


def test_each_length_has_a_line_and_one_has_milliseconds() -> None:
    command = [sys.executable, str(SCRIPT), "--lengths", "16", "64", "--seconds", "0"]
    first, second = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    line = r"{} tokens: demur takes \d\.\d{{3}} times as long as its bare session{} \(median of 1\)"
    assert re.fullmatch(line.format(16, ""), first)
    assert re.fullmatch(line.format(64, r", \d+\.\d\d ms"), second)
