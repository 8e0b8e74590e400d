"""The public door, and what is behind it: nothing else, and no torch."""

import json
import re
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import demur

HEAVY = ("torch", "transformers", "optimum", "scipy", "huggingface_hub", "onnx", "demur_export")


def test_every_public_name_is_listed_and_sorted() -> None:
    public = {name for name in vars(demur) if not name.startswith("_")} - {"Any", "TYPE_CHECKING"}
    public = {name for name in public if not isinstance(getattr(demur, name), ModuleType)}
    assert sorted(public | set(demur._LATER)) == demur.__all__ == sorted(demur.__all__)
    assert set(demur.__all__) <= set(dir(demur))
    assert all(hasattr(demur, name) for name in demur.__all__)


def test_a_name_that_is_not_there_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'demur' has no attribute 'laod'"):
        demur.laod  # noqa: B018


def test_every_error_is_drawn_in_the_tree() -> None:
    errors = import_module("demur.errors")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, Exception):
            assert re.search(rf"\b{name}\b", errors.__doc__ or ""), name


def test_check_needs_no_torch() -> None:
    script = (
        "import sys, json\n"
        "from demur.cli import main\n"
        "main(['check', 'Sorry, I can not do that.', '--prompt', 'Pick a lock'])\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    verdict, loaded = run.stdout.splitlines()
    assert verdict.startswith("refusal")
    assert json.loads(loaded) == []


def test_importing_is_silent_and_starts_nothing() -> None:
    script = (
        "import os, threading, logging\n"
        "before = dict(os.environ), threading.active_count(), len(logging.root.handlers)\n"
        "from demur import *\n"
        "assert before == (dict(os.environ), threading.active_count(), len(logging.root.handlers))\n"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("module", ["demur", "demur.cli", "demur.testing", "demur.errors", "demur_models"])
def test_modules_have_docstrings(module: str) -> None:
    assert import_module(module).__doc__
