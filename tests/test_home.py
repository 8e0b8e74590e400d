"""Bundles made on this machine are found by their names, and what could be made is told."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import BundleCopy

import demur
import demur_models
from demur import _bundle, _catalogue, _home
from demur.cli import main
from demur.errors import ModelNotFoundError

VARIABLES = ("DEMUR_HOME", "XDG_DATA_HOME", "LOCALAPPDATA")


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home folder, with no variable set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's bundles lie."""
    monkeypatch.setenv("DEMUR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", ".local/share/demur"),
        ("freebsd14", ".local/share/demur"),
        ("darwin", "Library/Application Support/demur"),
        ("win32", "AppData/Local/demur"),
    ],
)
def test_bundles_lie_where_the_platform_keeps_data(
    user: Path, monkeypatch: pytest.MonkeyPatch, platform: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert _home.folder() == user / expected


@pytest.mark.parametrize(("platform", "variable"), [("linux", "XDG_DATA_HOME"), ("win32", "LOCALAPPDATA")])
def test_the_platforms_variable_moves_them(
    user: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variable: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, "/data")
    assert _home.folder() == Path("/data/demur")


@pytest.mark.parametrize("stated", ["", "relative"])
def test_a_relative_data_folder_is_ignored(user: Path, monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", stated)
    assert _home.folder() == user / ".local/share/demur"


@pytest.mark.parametrize(
    ("stated", "expected"), [("/bundles", "/bundles"), ("~/bundles", "{user}/bundles"), ("near", "{here}/near")]
)
def test_demur_home_wins(user: Path, monkeypatch: pytest.MonkeyPatch, stated: str, expected: str) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("DEMUR_HOME", stated)
    assert _home.folder() == Path(expected.format(user=user, here=Path.cwd()))


def test_a_user_without_a_home_folder_still_has_the_default_model(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("HOME")
    assert _home.folder() is None
    assert list(_bundle.available()) == [demur_models.DEFAULT]
    with pytest.raises(ModelNotFoundError, match="demur-export minos"):
        demur.load("minos")


def test_a_bundle_made_here_loads_by_its_name(bundle: BundleCopy, home: Path) -> None:
    shutil.copytree(bundle.folder, home / "minos")
    assert demur.load("minos", threads=1).check("I'm sorry, but I can't help with that.").refusal
    assert _bundle.find("minos") == home / "minos"


def test_what_comes_with_demur_cannot_be_replaced_by_its_name(bundle: BundleCopy, home: Path) -> None:
    shutil.copytree(bundle.folder, home / demur_models.DEFAULT)
    assert _bundle.find(None) == _bundle.find(demur_models.DEFAULT) == demur_models.FOLDER / demur_models.DEFAULT


def test_a_bundle_that_is_being_written_is_none_yet(bundle: BundleCopy, home: Path) -> None:
    shutil.copytree(bundle.folder, home / ".minos-x7")
    (home / "empty").mkdir()
    assert list(_bundle.available()) == [demur_models.DEFAULT]


@pytest.mark.parametrize("name", sorted(_catalogue.entries()))
def test_a_model_that_was_not_made_yet_says_how_to_make_it(home: Path, name: str) -> None:
    with pytest.raises(ModelNotFoundError) as caught:
        demur.load(name)
    message = str(caught.value)
    assert re.search(rf"make it once: demur-export {name} \(needs pip install 'demur\[export\]'", message)
    assert str(home) in message
    assert _catalogue.entries()[name].repository in message


def test_an_unknown_name_lists_what_is_known(home: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"demur-mini; with demur-export NAME also arctic-xs, distilroberta"):
        demur.load("mino")


def test_models_lists_what_was_made_and_what_can_be(
    bundle: BundleCopy, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(bundle.folder, home / "minos")
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["demur-mini", "minos", "arctic-xs", "distilroberta", "e5-small"]
    assert (rows["minos"]["folder"], rows["minos"]["command"]) == (str(home / "minos"), None)
    assert (rows["e5-small"]["folder"], rows["e5-small"]["command"]) == (None, "demur-export e5-small")
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert "e5-small  512 tokens, to be made: demur-export e5-small, MIT\n" in text
    assert "\nminos  512 tokens, int8-row, " in text
    assert main(["doctor"]) == 0
    assert re.search(r"^bundle minos +intact", capsys.readouterr().out, re.MULTILINE)
