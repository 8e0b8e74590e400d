"""Every fault of a bundle's files is an error of its own that says where it is, what was found and expected."""

import os
from pathlib import Path

import pytest
from _faults import fault, names
from conftest import BundleCopy

import demur
import demur_models
from demur import _bundle, errors


def test_an_untouched_copy_is_read_and_intact(bundle: BundleCopy) -> None:
    read = _bundle.read(bundle.folder)
    read.check_sums()
    assert read.labels[read.refusal] == "Refusal"
    assert read.operating_points["balanced"] == bundle.read()["operating_points"]["balanced"]


def test_a_bundle_loads_from_its_folder(bundle: BundleCopy) -> None:
    model = demur.load(bundle.folder, threads=1)
    assert model.check("I'm sorry, but I can't help with that.").refusal
    assert not model.check("The capital of France is Paris.").refusal


@pytest.mark.parametrize("model", ["no-such-model", Path("no/such/folder"), "\0"])
def test_neither_a_name_nor_a_folder(model: str | Path) -> None:
    message = fault(errors.ModelNotFoundError, lambda: demur.load(model))
    names(message, repr(str(model)), demur_models.DEFAULT, "demur-export")


def test_a_file_is_no_bundle(bundle: BundleCopy) -> None:
    path = bundle.folder / "model.onnx"
    names(fault(errors.ModelNotFoundError, lambda: demur.load(path)), path)


def test_a_known_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / demur_models.DEFAULT).mkdir()
    monkeypatch.chdir(tmp_path)
    assert _bundle.find(demur_models.DEFAULT) == demur_models.FOLDER / demur_models.DEFAULT


def test_a_relative_folder_is_kept_when_the_working_folder_changes(
    bundle: BundleCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.folder.parent)
    found = _bundle.find("bundle")
    monkeypatch.chdir("/")
    assert _bundle.read(found).name == bundle.read()["name"]


def test_no_manifest(bundle: BundleCopy) -> None:
    bundle.manifest.unlink()
    names(fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), bundle.manifest, "demur-export")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file(bundle: BundleCopy, name: str) -> None:
    (bundle.folder / name).unlink()
    names(fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), bundle.folder / name, "demur.json")


def test_a_folder_in_place_of_a_file(bundle: BundleCopy) -> None:
    path = bundle.folder / "model.onnx"
    path.unlink()
    path.mkdir()
    names(fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), path)


@pytest.mark.parametrize("file", ["model", "tokenizer"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_file_is_found_even_without_verification(bundle: BundleCopy, file: str, verify: bool) -> None:
    whole = bundle.read()["files"][file]
    path = bundle.replace(file, (bundle.folder / whole["path"]).read_bytes()[:-1])
    message = fault(errors.TruncatedFileError, lambda: demur.load(bundle.folder, verify=verify))
    names(message, path, whole["bytes"], whole["bytes"] - 1)


def _flip(bundle: BundleCopy, file: str, place: int) -> Path:
    data = bytearray((bundle.folder / bundle.read()["files"][file]["path"]).read_bytes())
    data[place] ^= 1
    return bundle.replace(file, bytes(data))


@pytest.mark.parametrize("file", ["model", "tokenizer"])
def test_one_changed_bit_is_found(bundle: BundleCopy, file: str) -> None:
    path = _flip(bundle, file, -100)
    message = fault(errors.ChecksumError, lambda: demur.load(bundle.folder, threads=1))
    names(message, path, "sha256", bundle.read()["files"][file]["sha256"])


def test_a_changed_file_that_cannot_be_loaded_is_reported_as_changed(bundle: BundleCopy) -> None:
    path = bundle.folder / "tokenizer.json"
    bundle.replace("tokenizer", b"x" * path.stat().st_size)
    names(fault(errors.ChecksumError, lambda: demur.load(bundle.folder, threads=1)), path)


def test_without_verification_contents_are_not_compared(bundle: BundleCopy) -> None:
    bundle.put("files.model.sha256", "0" * 64)
    model = demur.load(bundle.folder, threads=1, verify=False)
    assert model.check("I'm sorry, but I can't help with that.").refusal


@pytest.mark.parametrize("data", [b"", b"not json", b"{}", b'{"model": {"type": "none"}}'])
def test_a_tokenizer_that_is_none(bundle: BundleCopy, data: bytes) -> None:
    path = bundle.replace("tokenizer", data, record=True)
    names(fault(errors.TokenizerError, lambda: demur.load(bundle.folder, threads=1)), path, "tokenizers library")


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x08"])
def test_a_model_that_is_no_graph(bundle: BundleCopy, data: bytes) -> None:
    path = bundle.replace("model", data, record=True)
    names(fault(errors.ModelError, lambda: demur.load(bundle.folder, threads=1)), path, "onnxruntime")


def _field(number: int, value: int | bytes | str) -> bytes:
    """Return one field of a protocol buffer; shorter than 128 bytes."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


def _identity_graph(source: str, target: str) -> bytes:
    """Return an ONNX model that hands its input on, written by hand as the runtime has no `onnx`."""
    tensor = _field(1, _field(1, 7) + _field(2, _field(1, _field(1, 1))))  # int64[1]
    node = _field(1, source) + _field(2, target) + _field(4, "Identity")
    ends = _field(11, _field(1, source) + _field(2, tensor)) + _field(12, _field(1, target) + _field(2, tensor))
    graph = _field(1, node) + _field(2, "g") + ends
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))


@pytest.mark.parametrize(("source", "target"), [("input_ids", "logits"), ("token_ids", "scores")])
def test_a_graph_that_is_no_bundles(bundle: BundleCopy, source: str, target: str) -> None:
    path = bundle.replace("model", _identity_graph(source, target), record=True)
    message = fault(errors.ModelError, lambda: demur.load(bundle.folder, threads=1))
    names(message, path, "token_ids", "logits", [source], [target], "demur-export")


@pytest.mark.parametrize("file", ["model", "tokenizer"])
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../bundle/model.onnx",
        "deeper/../model.onnx",
        "..\\model.onnx",
        "deeper\\..\\..\\model.onnx",
        "C:\\model.onnx",
        "C:model.onnx",
        "\\\\server\\share\\model.onnx",
        "\\model.onnx",
        "model\0.onnx",
        "model\ud800.onnx",
    ],
)
def test_a_path_that_is_not_inside_the_folder(bundle: BundleCopy, file: str, path: str) -> None:
    bundle.put(f"files.{file}.path", path)
    message = fault(errors.UnsafePathError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, f"files.{file}.path", repr(path), "expected a path inside it")


def test_a_link_that_leads_out_of_the_folder(bundle: BundleCopy) -> None:
    inside = bundle.folder / "model.onnx"
    inside.rename(bundle.folder.parent / "outside.onnx")
    inside.symlink_to("../outside.onnx")
    message = fault(errors.UnsafePathError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, "files.model.path", "model.onnx", bundle.folder)


def test_a_link_that_goes_round_in_circles(bundle: BundleCopy) -> None:
    inside = bundle.folder / "model.onnx"
    inside.unlink()
    inside.symlink_to("model.onnx")
    with pytest.raises(errors.BundleError) as caught:
        _bundle.read(bundle.folder)
    names(str(caught.value), "model.onnx")


def test_a_link_within_the_folder_is_followed(bundle: BundleCopy) -> None:
    (bundle.folder / "model.onnx").rename(bundle.folder / "real.onnx")
    (bundle.folder / "model.onnx").symlink_to("real.onnx")
    _bundle.read(bundle.folder).check_sums()


def test_a_bundle_behind_a_link_is_read(bundle: BundleCopy, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle.folder)
    assert _bundle.read(tmp_path / "link").name == bundle.read()["name"]


def test_a_file_may_lie_in_a_folder_of_the_bundle(bundle: BundleCopy) -> None:
    (bundle.folder / "onnx").mkdir()
    os.rename(bundle.folder / "model.onnx", bundle.folder / "onnx" / "model.onnx")
    bundle.put("files.model.path", "onnx/model.onnx")
    _bundle.read(bundle.folder).check_sums()


@pytest.mark.parametrize("threads", [0, -1])
def test_load_refuses_fewer_than_one_thread(threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads is {threads}; it must be at least 1"):
        demur.load(threads=threads)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_load_refuses_a_threshold_that_is_no_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"threshold is .*; it must be from 0 to 1"):
        demur.load(threshold=threshold)


def test_load_takes_an_operating_point_by_name(bundle: BundleCopy) -> None:
    bundle.put("operating_points", {"balanced": 0.5, "strict": 0.875})
    assert demur.load(bundle.folder, threads=1, threshold="strict").threshold == 0.875
    assert demur.load(bundle.folder, threads=1).threshold == 0.5


def test_load_names_the_operating_points_when_it_does_not_know_one(bundle: BundleCopy) -> None:
    bundle.put("operating_points", {"balanced": 0.5, "strict": 0.875})
    with pytest.raises(ValueError, match=r"threshold is 'lax'.*balanced, strict"):
        demur.load(bundle.folder, threshold="lax")
