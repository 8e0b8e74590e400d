"""Every fault of `demur.json` is an error of its own that says where it is, what was found and what was expected."""

import pytest
from _faults import fault, names
from conftest import BundleCopy

from demur import _bundle, errors


@pytest.mark.parametrize("text", ["", "{", "{'format': 1}", '{"format": 1}}', "\ufeff{}", "[" * 100_000])
def test_a_manifest_that_is_not_json(bundle: BundleCopy, text: str) -> None:
    bundle.write(text)
    names(fault(errors.ManifestSyntaxError, lambda: _bundle.read(bundle.folder)), bundle.manifest, "not JSON")


def test_a_manifest_that_is_not_utf8(bundle: BundleCopy) -> None:
    bundle.manifest.unlink()
    bundle.manifest.write_bytes(b'{"name": "\xff"}')
    names(fault(errors.ManifestSyntaxError, lambda: _bundle.read(bundle.folder)), bundle.manifest, "0xff")


@pytest.mark.parametrize(
    ("raw", "found"), [([], "a list"), ("1", "an integer"), ("null", "null"), ("true", "a truth value")]
)
def test_a_manifest_that_is_no_object(bundle: BundleCopy, raw: object, found: str) -> None:
    bundle.write(raw)
    message = fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, f"is {found}", "expected an object")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("threshold", "operating_points"),
        ("Format", "format"),
        ("source.url", "repository, revision"),
        ("template.role", "roles, separator, ellipsis"),
        ("files.data", "model, tokenizer, weights"),
        ("files.model.md5", "path, bytes, sha256"),
    ],
)
def test_an_unknown_key(bundle: BundleCopy, key: str, expected: str) -> None:
    bundle.put(key, "x")
    names(fault(errors.UnknownKeyError, lambda: _bundle.read(bundle.folder)), bundle.manifest, repr(key), expected)


_KEYS = [
    *("format", "name", "version", "source", "licence", "languages", "architecture", "parameters", "recipe"),
    *("max_tokens", "labels", "refusal", "template", "operating_points", "files", "parity", "exported"),
    *("source.repository", "source.revision", "template.roles", "template.separator", "template.ellipsis"),
    *("files.model", "files.tokenizer", "files.weights"),
    *(f"files.{file}.{key}" for file in ("model", "tokenizer", "weights") for key in ("path", "bytes", "sha256")),
]


@pytest.mark.parametrize("key", _KEYS)
def test_a_missing_key(bundle: BundleCopy, key: str) -> None:
    bundle.drop(key)
    names(fault(errors.MissingKeyError, lambda: _bundle.read(bundle.folder)), bundle.manifest, repr(key), "missing")


def test_weights_are_unknown_to_the_first_format(bundle: BundleCopy) -> None:
    bundle.put("format", 1)
    message = fault(errors.UnknownKeyError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, "'files.weights'", "model, tokenizer")


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
    message = fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, f"key {key!r} is {value!r}", f"expected {expected}")


@pytest.mark.parametrize(("key", "values"), [("labels", ["no", 1]), ("languages", ["en", None])])
def test_an_item_of_another_type(bundle: BundleCopy, key: str, values: list[object]) -> None:
    bundle.put(key, values)
    message = fault(errors.WrongTypeError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, f"key '{key}.1' is {values[1]!r}", "expected a string")


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
    message = fault(errors.WrongValueError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, f"key {named!r} is ", f"expected {expected}")


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
    message = fault(errors.NewerFormatError, lambda: _bundle.read(bundle.folder))
    names(message, bundle.manifest, "format is 3", "up to 2", "pip install --upgrade demur")
