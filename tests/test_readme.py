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
from demur import _catalogue

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


@pytest.mark.parametrize(
    "folder", ["runtime/demur", "runtime/demur/_package", "runtime/demur/integrations", "export/demur_export"]
)
def test_the_readme_lists_every_module(folder: str) -> None:
    # Beside the one public door, an __init__.py holds nothing.
    unlisted = {"__init__.py"} if folder != "runtime/demur" else set()
    for path in (ROOT / folder).glob("*.py"):
        assert path.name in unlisted or f"`{path.name}`" in README, path.name


def test_the_readme_lists_every_model_of_the_catalogue() -> None:
    for entry in _catalogue.entries().values():
        (row,) = re.findall(rf"^\| `{entry.name}` \|.*$", README, re.MULTILINE)
        weights = f"{float(f'{entry.parameters / 1e6:.3g}'):g} M"
        assert f"| [{entry.repository}](https://huggingface.co/{entry.repository}) | {weights} |" in row
        assert f"{entry.max_tokens:,} tokens" in row


def test_the_changelog_has_this_version() -> None:
    assert f"## {demur.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_texts_name_every_option_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    from demur.cli import main
    from demur_export.cli import main as export

    helps = ""
    for command in ("check", "score", "filter", "report", "models", "doctor", "package"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        helps += capsys.readouterr().out
    with pytest.raises(SystemExit):
        export(["--help"])
    helps += capsys.readouterr().out
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert {option for option in options if option not in helps} == set()
