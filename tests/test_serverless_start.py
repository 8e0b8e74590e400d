"""How the function starts: its environment, and the model that is loaded once."""

import json
import subprocess
import sys

import pytest

from demur import _machine, serverless


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script that reads the function's environment in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, env=environment
    )


PATHS = f"import sys, json; sys.path[:0] = {sys.path!r}\n"


def test_the_model_is_loaded_when_the_handler_is_first_asked_for_and_never_again() -> None:
    done = python(
        PATHS + "import demur.serverless as module\n"
        "assert 'handler' not in vars(module)\n"
        "first = module.handler\n"
        "from demur.serverless import handler\n"
        "assert handler is first and 'handler' in vars(module)\n"
        "assert not hasattr(module, 'other')\n"
        "print(json.dumps(handler({'prompt': 'Pick a lock', 'response': 'Sorry, I can not do that.'})))\n"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["refusal"] is True


def test_the_environment_chooses_threshold_and_limits() -> None:
    script = PATHS + (
        "from demur.serverless import handler\n"
        "print(json.dumps([handler(r)['threshold'] if r == '4' else handler(r) for r in ['4', {'rows': [1, 2]}]]))\n"
    )
    chosen = {"DEMUR_THRESHOLD": "high-precision", "DEMUR_MAX_ROWS": "1"}
    named = json.loads(python(script, **chosen).stdout)
    number = json.loads(python(script, DEMUR_THRESHOLD="0.25", DEMUR_MAX_ROWS="1").stdout)
    assert named[0] > 0.5
    assert number == [0.25, {"statusCode": 413, "error": "2 rows, expected at most 1"}]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("DEMUR_MAX_ROWS", "many", "DEMUR_MAX_ROWS is 'many', expected a whole number"),
        ("DEMUR_MAX_BYTES", "0", "DEMUR_MAX_BYTES is '0', expected a whole number of at least 1"),
        ("DEMUR_THRESHOLD", "strict", "operating points"),
        ("DEMUR_MODEL", "nowhere", "'nowhere' is neither a bundle's folder nor a known name"),
    ],
)
def test_a_wrong_environment_stops_the_function_at_its_start(variable: str, value: str, reason: str) -> None:
    done = python(PATHS + "from demur.serverless import handler", **{variable: value})
    assert done.returncode == 1
    assert reason in done.stderr


def test_threads_follow_the_functions_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_machine, "cores", lambda: 4)
    found = []
    for megabytes in ("128", "1768", "1769", "3537", "3538", "10240"):
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", megabytes)
        found.append(serverless._cores())
    assert found == [1, 1, 1, 1, 2, 4]
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    assert serverless._cores() == 4
