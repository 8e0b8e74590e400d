"""Every example in the README runs and prints what the README says."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import demur

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_NUMBER = re.compile(r"\d+\.\d+")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _agree(found: str, expected: str) -> None:
    """Compare text exactly and numbers with a decimal point to two hundredths: other processors round otherwise."""
    assert _NUMBER.sub("#", found).strip() == _NUMBER.sub("#", expected).strip()
    numbers = [[float(n) for n in _NUMBER.findall(text)] for text in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.02)


@pytest.mark.parametrize("block", _blocks("python"))
def test_python_examples_print_what_they_say(block: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block, "README.md", "exec"), {})
    _agree(printed.getvalue(), "\n".join(re.findall(r"# prints (.*)$", block, re.MULTILINE)))


@pytest.mark.parametrize("block", _blocks("console"))
def test_console_examples_print_what_they_say(block: str, tmp_path: Path) -> None:
    (tmp_path / "demur").write_text(f'#!/bin/sh\nexec {sys.executable} -m demur "$@"\n')
    (tmp_path / "demur").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        run = subprocess.run(
            command, shell=True, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        _agree(run.stdout + run.stderr, expected)


def test_the_readme_lists_every_module_of_the_runtime() -> None:
    for path in (ROOT / "runtime" / "demur").glob("*.py"):
        assert f"`{path.name}`" in README, path.name


def test_the_changelog_has_this_version() -> None:
    assert f"## {demur.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_texts_name_every_option_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    from demur.cli import main

    helps = ""
    for command in ("check", "score", "models", "doctor"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps += capsys.readouterr().out
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--out", "--recipe", "--template", "--texts"}
    assert {option for option in options if option not in helps} == set()
