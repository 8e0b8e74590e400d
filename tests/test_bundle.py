"""Every fault of a bundle is an error of its own that says where it is, what was found and what was expected."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BundleCopy

import demur
import demur_models
from demur import _bundle, errors


def _fault(kind: type[errors.DemurError], act: Callable[[], object]) -> str:
    """Return the message of the error that `act` raises, which is of exactly this kind."""
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


def _names(message: str, *parts: object) -> None:
    missing = [part for part in map(str, parts) if part not in message]
    assert not missing, f"{missing} not in {message!r}"


def test_an_untouched_copy_is_read_and_intact(bundle: BundleCopy) -> None:
    read = _bundle.read(bundle.folder)
    read.check_sums()
    assert read.labels[read.refusal] == "Refusal"
    assert read.operating_points["balanced"] == bundle.read()["operating_points"]["balanced"]


def test_a_bundle_loads_from_its_folder(bundle: BundleCopy) -> None:
    model = demur.load(bundle.folder, threads=1)
    assert model.check("I'm sorry, but I can't help with that.").refusal
    assert not model.check("The capital of France is Paris.").refusal


# Finding the folder


@pytest.mark.parametrize("model", ["no-such-model", Path("no/such/folder"), "\0"])
def test_neither_a_name_nor_a_folder(model: str | Path) -> None:
    message = _fault(errors.ModelNotFoundError, lambda: demur.load(model))
    _names(message, repr(str(model)), demur_models.DEFAULT, "demur-export")


def test_a_file_is_no_bundle(bundle: BundleCopy) -> None:
    path = bundle.folder / "model.onnx"
    _names(_fault(errors.ModelNotFoundError, lambda: demur.load(path)), path)


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


# Files


def test_no_manifest(bundle: BundleCopy) -> None:
    bundle.manifest.unlink()
    _names(_fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), bundle.manifest, "demur-export")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_missing_file(bundle: BundleCopy, name: str) -> None:
    (bundle.folder / name).unlink()
    _names(_fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), bundle.folder / name, "demur.json")


def test_a_folder_in_place_of_a_file(bundle: BundleCopy) -> None:
    path = bundle.folder / "model.onnx"
    path.unlink()
    path.mkdir()
    _names(_fault(errors.MissingFileError, lambda: demur.load(bundle.folder)), path)


@pytest.mark.parametrize("file", ["model", "tokenizer"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_truncated_file_is_found_even_without_verification(bundle: BundleCopy, file: str, verify: bool) -> None:
    whole = bundle.read()["files"][file]
    path = bundle.replace(file, (bundle.folder / whole["path"]).read_bytes()[:-1])
    message = _fault(errors.TruncatedFileError, lambda: demur.load(bundle.folder, verify=verify))
    _names(message, path, whole["bytes"], whole["bytes"] - 1)


def _flip(bundle: BundleCopy, file: str, place: int) -> Path:
    data = bytearray((bundle.folder / bundle.read()["files"][file]["path"]).read_bytes())
    data[place] ^= 1
    return bundle.replace(file, bytes(data))


@pytest.mark.parametrize("file", ["model", "tokenizer"])
def test_one_changed_bit_is_found(bundle: BundleCopy, file: str) -> None:
    path = _flip(bundle, file, -100)
    message = _fault(errors.ChecksumError, lambda: demur.load(bundle.folder, threads=1))
    _names(message, path, "sha256", bundle.read()["files"][file]["sha256"])


def test_a_changed_file_that_cannot_be_loaded_is_reported_as_changed(bundle: BundleCopy) -> None:
    path = bundle.folder / "tokenizer.json"
    bundle.replace("tokenizer", b"x" * path.stat().st_size)
    _names(_fault(errors.ChecksumError, lambda: demur.load(bundle.folder, threads=1)), path)


def test_without_verification_contents_are_not_compared(bundle: BundleCopy) -> None:
    bundle.put("files.model.sha256", "0" * 64)
    model = demur.load(bundle.folder, threads=1, verify=False)
    assert model.check("I'm sorry, but I can't help with that.").refusal


@pytest.mark.parametrize("data", [b"", b"not json", b"{}", b'{"model": {"type": "none"}}'])
def test_a_tokenizer_that_is_none(bundle: BundleCopy, data: bytes) -> None:
    path = bundle.replace("tokenizer", data, record=True)
    _names(_fault(errors.TokenizerError, lambda: demur.load(bundle.folder, threads=1)), path, "tokenizers library")


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08\x08"])
def test_a_model_that_is_no_graph(bundle: BundleCopy, data: bytes) -> None:
    path = bundle.replace("model", data, record=True)
    _names(_fault(errors.ModelError, lambda: demur.load(bundle.folder, threads=1)), path, "onnxruntime")


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
    message = _fault(errors.ModelError, lambda: demur.load(bundle.folder, threads=1))
    _names(message, path, "token_ids", "logits", [source], [target], "demur-export")


# demur.json: syntax


@pytest.mark.parametrize("text", ["", "{", "{'format': 1}", '{"format": 1}}', "\ufeff{}", "[" * 100_000])
def test_a_manifest_that_is_not_json(bundle: BundleCopy, text: str) -> None:
    bundle.write(text)
    _names(_fault(errors.ManifestSyntaxError, lambda: _bundle.read(bundle.folder)), bundle.manifest, "not JSON")


def test_a_manifest_that_is_not_utf8(bundle: BundleCopy) -> None:
    bundle.manifest.unlink()
    bundle.manifest.write_bytes(b'{"name": "\xff"}')
    _names(_fault(errors.ManifestSyntaxError, lambda: _bundle.read(bundle.folder)), bundle.manifest, "0xff")


@pytest.mark.parametrize(
    ("raw", "found"), [([], "a list"), ("1", "an integer"), ("null", "null"), ("true", "a truth value")]
)
def test_a_manifest_that_is_no_object(bundle: BundleCopy, raw: object, found: str) -> None:
    bundle.write(raw)
    message = _fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, f"is {found}", "expected an object")


# demur.json: keys


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("threshold", "operating_points"),
        ("Format", "format"),
        ("source.url", "repository, revision"),
        ("template.role", "roles, separator, ellipsis"),
        ("files.weights", "model, tokenizer"),
        ("files.model.md5", "path, bytes, sha256"),
    ],
)
def test_an_unknown_key(bundle: BundleCopy, key: str, expected: str) -> None:
    bundle.put(key, "x")
    _names(_fault(errors.UnknownKeyError, lambda: _bundle.read(bundle.folder)), bundle.manifest, repr(key), expected)


_KEYS = [
    *("format", "name", "version", "source", "licence", "languages", "architecture", "parameters", "recipe"),
    *("max_tokens", "labels", "refusal", "template", "operating_points", "files", "parity", "exported"),
    *("source.repository", "source.revision", "template.roles", "template.separator", "template.ellipsis"),
    *("files.model", "files.tokenizer"),
    *(f"files.{file}.{key}" for file in ("model", "tokenizer") for key in ("path", "bytes", "sha256")),
]


@pytest.mark.parametrize("key", _KEYS)
def test_a_missing_key(bundle: BundleCopy, key: str) -> None:
    bundle.drop(key)
    _names(_fault(errors.MissingKeyError, lambda: _bundle.read(bundle.folder)), bundle.manifest, repr(key), "missing")


def test_every_key_of_the_bundle_is_tried_for_absence(bundle: BundleCopy) -> None:
    assert set(bundle.read()) <= set(_KEYS)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format", "1", "an integer"),
        ("format", True, "an integer"),
        ("format", 2.5, "an integer"),
        ("name", None, "a string"),
        ("version", 1, "a string"),
        ("source", "hub", "an object"),
        ("source.repository", None, "a string"),
        ("source.revision", 7, "a string or null"),
        ("source.revision", False, "a string or null"),
        ("licence", [], "a string"),
        ("languages", "en", "a list"),
        ("languages", {"en": "English"}, "a list"),
        ("architecture", 3, "a string"),
        ("parameters", 2.5, "an integer"),
        ("parameters", True, "an integer"),
        ("recipe", None, "a string"),
        ("max_tokens", "512", "an integer"),
        ("max_tokens", True, "an integer"),
        ("max_tokens", float("inf"), "an integer"),
        ("labels", {"0": "no", "1": "yes"}, "a list"),
        ("refusal", True, "an integer"),
        ("refusal", "Refusal", "an integer"),
        ("template", [], "an object"),
        ("template.roles", ["<|user|>"], "an object"),
        ("template.separator", None, "a string"),
        ("template.ellipsis", 0, "a string"),
        ("operating_points", 0.5, "an object"),
        ("operating_points.balanced", "0.5", "a number or an integer"),
        ("operating_points.balanced", True, "a number or an integer"),
        ("template.roles.user", None, "a string"),
        ("files", [], "an object"),
        ("files.model", "model.onnx", "an object"),
        ("files.model.path", 1, "a string"),
        ("files.model.bytes", "23", "an integer"),
        ("files.model.bytes", True, "an integer"),
        ("files.tokenizer.sha256", None, "a string"),
        ("parity", [], "an object or null"),
        ("parity", True, "an object or null"),
        ("exported", None, "an object"),
    ],
)
def test_a_value_of_another_type(bundle: BundleCopy, key: str, value: object, expected: str) -> None:
    bundle.put(key, value)
    message = _fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, f"key {key!r} is {value!r}", f"expected {expected}")


@pytest.mark.parametrize(("key", "values"), [("labels", ["no", 1]), ("languages", ["en", None])])
def test_an_item_of_another_type(bundle: BundleCopy, key: str, values: list[object]) -> None:
    bundle.put(key, values)
    message = _fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, f"key '{key}.1' is {values[1]!r}", "expected a string")


def test_no_parity_is_allowed(bundle: BundleCopy) -> None:
    bundle.put("parity", None)
    assert _bundle.read(bundle.folder).parity is None


@pytest.mark.parametrize(
    ("key", "value", "named", "expected"),
    [
        ("format", 0, "format", "1 to 2"),
        ("format", -1, "format", "1 to 2"),
        ("recipe", "int4", "recipe", "one of fp32, int8"),
        ("recipe", "", "recipe", "one of fp32, int8"),
        ("max_tokens", 0, "max_tokens", "at least 16"),
        ("max_tokens", 15, "max_tokens", "at least 16"),
        ("labels", ["Refusal"], "labels", "two or more different names"),
        ("labels", [], "labels", "two or more different names"),
        ("labels", ["a", "a"], "labels", "two or more different names"),
        ("refusal", 2, "refusal", "an index of labels, 0 to 1"),
        ("refusal", -1, "refusal", "an index of labels, 0 to 1"),
        ("template.roles.tool", "<|tool|>", "template.roles", "roles among system, user, assistant"),
        ("template.roles", {"user": "<|user|>"}, "template.roles", "assistant among them"),
        ("template.ellipsis", "", "template.ellipsis", "a mark for what is left out"),
        ("operating_points", {}, "operating_points", "balanced among them"),
        ("operating_points", {"strict": 0.9}, "operating_points", "balanced among them"),
        ("operating_points.balanced", 1.01, "operating_points.balanced", "a probability, 0 to 1"),
        ("operating_points.balanced", -1, "operating_points.balanced", "a probability, 0 to 1"),
        ("operating_points.balanced", float("nan"), "operating_points.balanced", "a probability, 0 to 1"),
        ("files.model.sha256", "", "files.model.sha256", "64 lower-case hexadecimal digits"),
        ("files.model.sha256", "A" * 64, "files.model.sha256", "64 lower-case hexadecimal digits"),
        ("files.tokenizer.sha256", "0" * 63, "files.tokenizer.sha256", "64 lower-case hexadecimal digits"),
    ],
)
def test_a_value_out_of_its_range(bundle: BundleCopy, key: str, value: object, named: str, expected: str) -> None:
    bundle.put(key, value)
    message = _fault(errors.WrongValueError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, f"key {named!r} is ", f"expected {expected}")


@pytest.mark.parametrize(
    ("key", "value"),
    [("max_tokens", 16), ("operating_points.balanced", 0), ("operating_points.balanced", 1), ("refusal", 0)],
)
def test_a_value_at_the_edge_of_its_range_is_taken(bundle: BundleCopy, key: str, value: object) -> None:
    bundle.put(key, value)
    _bundle.read(bundle.folder)


@pytest.mark.parametrize("key", [None, "something_new"])
def test_a_newer_format_is_named_before_its_unknown_keys(bundle: BundleCopy, key: str | None) -> None:
    bundle.put("format", 3)
    if key:
        bundle.put(key, 1)
    message = _fault(errors.NewerFormatError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, "format is 3", "up to 2", "pip install --upgrade demur")


# demur.json: paths


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
    message = _fault(errors.UnsafePathError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, f"files.{file}.path", repr(path), "expected a path inside it")


def test_a_link_that_leads_out_of_the_folder(bundle: BundleCopy) -> None:
    inside = bundle.folder / "model.onnx"
    inside.rename(bundle.folder.parent / "outside.onnx")
    inside.symlink_to("../outside.onnx")
    message = _fault(errors.UnsafePathError, lambda: _bundle.read(bundle.folder))
    _names(message, bundle.manifest, "files.model.path", "model.onnx", bundle.folder)


def test_a_link_that_goes_round_in_circles(bundle: BundleCopy) -> None:
    inside = bundle.folder / "model.onnx"
    inside.unlink()
    inside.symlink_to("model.onnx")
    with pytest.raises(errors.BundleError) as caught:
        _bundle.read(bundle.folder)
    _names(str(caught.value), "model.onnx")


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


# Arguments of load


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
