"""What a process has in memory that loads the shipped bundle and judges a text of full length."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

if not Path("/proc/self/status").exists():
    pytest.skip("reads /proc/self/status", allow_module_level=True)

# MB: what `demur-mini` is meant to stay under, and what may be free in the C library's heap after loading, of which
# there are 8 MB if it is not given back.
PEAK, FREE = 130, 3

_SCRIPT = """
import ctypes, json
from pathlib import Path

import demur

def megabytes(key):
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024 / 1e6

model = demur.load(threads=1)
loaded = megabytes("VmRSS")
trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
if trim is not None:
    trim(0)
free = loaded - megabytes("VmRSS")
model.check("word " * 2 * model.max_tokens)
print(json.dumps([free, megabytes("VmHWM")]))
"""


def test_loading_leaves_little_that_is_free_and_the_process_stays_small() -> None:
    run = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    free, peak = json.loads(run.stdout)
    assert free < FREE
    assert peak < PEAK
