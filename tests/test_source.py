"""What a user calls a checkpoint: a folder, a name of the catalogue, or a Hub id."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import CheckpointError

pytestmark = pytest.mark.export
pytest.importorskip("huggingface_hub")

from demur_export import cli, source


def test_a_folder_is_taken_before_the_catalogue_and_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("minos", "someone/refusals"):
        Path(name).mkdir(parents=True)
        assert source.find(name) == source.Source(folder=Path(name))


def test_a_bundle_in_the_place_of_a_name_is_not_taken_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("minos").mkdir()
    Path("minos/demur.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"is a bundle, no checkpoint; .*NousResearch/Minos-v1"):
        source.find("minos")


def test_a_bundle_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "demur.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"this is a bundle already, .*demur check --model "):
        source.find(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert source.find(str(tmp_path)).folder == tmp_path


@pytest.mark.parametrize("asked", ["minos", "NousResearch/Minos-v1"])
def test_the_catalogue_is_found_by_name_and_by_repository(asked: str) -> None:
    found = source.find(asked)
    assert (found.folder, found.repository) == (None, "NousResearch/Minos-v1")
    assert found.entry is not None
    assert found.entry.name == "minos"


def test_another_repository_has_no_entry() -> None:
    assert source.find("someone/refusals.v2") == source.Source(repository="someone/refusals.v2")


@pytest.mark.parametrize("asked", ["mino", "./someone/else", "/tmp/nowhere/x", "a/b/c", "owner/", "", "~/x", "../x"])
def test_anything_else_lists_what_could_be_meant(asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        source.find(asked)
    assert str(caught.value).startswith(
        f"{asked}: no such folder, no model of the catalogue (arctic-xs, distilroberta,"
    )
    assert "Hub id (owner/name)" in str(caught.value)


@pytest.mark.parametrize("asked", ["someone/refusals", "."])
def test_only_models_of_the_catalogue_have_a_folder_of_their_own(
    asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([asked])
    assert left.value.code == 2
    assert "--out FOLDER is missing; only models of the catalogue" in capsys.readouterr().err


def test_where_a_download_came_from_is_not_for_the_user_to_say(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["minos", "--repository", "someone/else"])
    assert left.value.code == 2
    assert "--repository is for a folder" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["huggingface_hub", "onnx"])
def test_a_missing_extra_is_named_with_the_way_to_install_it(missing: str) -> None:
    script = f"import sys; sys.modules['{missing}'] = None; from demur_export.cli import main; print(main(['minos']))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "2\n"
    assert ran.stderr == f"demur-export: {missing} is not installed; pip install 'demur[export]'\n"


def test_what_is_asked_for_is_looked_at_before_torch_is_imported() -> None:
    script = "import sys; from demur_export.cli import main; print(main(['mino']), 'torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "1 False\n"
    assert ran.stderr.startswith("demur-export: mino: no such folder")


JSON = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("index")


NAMES = st.from_regex(r"[./\w-]+\.safetensors", fullmatch=True)


@given(table=JSON | st.dictionaries(st.text(), NAMES, min_size=1, max_size=3))
def test_names_of_an_index_stay_beside_it(folder: Path, table: object) -> None:
    from demur_export import checkpoint

    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    try:
        names = checkpoint.shards(folder)
    except CheckpointError:
        return
    assert names
    assert all((folder / name).resolve().parent == folder.resolve() for name in names)


def test_weights_in_several_files_are_counted_together(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import _checkpoints
    from safetensors.torch import load_file, save_file

    from demur_export import checkpoint

    folder = _checkpoints.bert(tmp_path, layers=1)
    whole = checkpoint.read(folder).parameters
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    table = {}
    for number, names in enumerate([list(weights)[::2], list(weights)[1::2]], 1):
        save_file({name: weights[name] for name in names}, folder / f"part-{number}.safetensors", {"format": "pt"})
        table |= dict.fromkeys(names, f"part-{number}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": table}))
    assert checkpoint.read(folder).parameters == whole
    (folder / "part-2.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-2.safetensors: no such file, but .*index.json names it"):
        checkpoint.read(folder)
