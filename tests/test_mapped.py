"""Bundles whose weights have a file of their own: the same bits, mapped and shared, and never out of damaged files."""

import json
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from _mapped import in_one_file

import demur
from demur import Classifier, _bundle, _cache, _machine, _session
from demur.errors import ChecksumError, MissingFileError, MissingKeyError, ModelError, TruncatedFileError

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at what is mapped in /proc"),
]
TEXTS = ("I'm sorry, but I can't help with that.", "The capital of France is Paris.", "no " * 300)


@pytest.fixture(scope="module")
def whole() -> Path:
    """The bundle; tests that damage it do so to copies."""
    return _bundle.find(None)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where loading keeps what it makes, empty."""
    monkeypatch.setenv("DEMUR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def cache(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, kept for any bundle: the default one stands for those of more than 100 MB."""
    monkeypatch.setattr(_session, "READY_FROM", 0)
    return empty


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to damage."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def logits(model: Classifier) -> list[tuple[float, ...]]:
    return [model.check(text).logits for text in TEXTS]


def entries(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*") if path.is_dir()] if cache.exists() else []


def maps(folder: Path) -> bool:
    """Whether this process has a file of weights of that folder mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return any(f"{folder}/" in line and line.endswith("_data") for line in lines)


def flip(path: Path) -> None:
    """Change a byte in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def test_the_bits_are_those_of_the_bundle_in_one_file(whole: Path, cache: Path, tmp_path: Path) -> None:
    model = demur.load(in_one_file(tmp_path / "single"), threads=1)
    assert not entries(cache)
    first, second = demur.load(whole, threads=1), demur.load(whole, threads=1)
    assert logits(first) == logits(second) == logits(model)
    assert logits(pickle.loads(pickle.dumps(second))) == logits(model)
    (entry,) = entries(cache)
    assert maps(entry)
    # The weights as they are multiplied, beside the weights as they were.
    assert (entry / _cache.WEIGHTS).stat().st_size > 1.3 * (whole / "model.onnx_data").stat().st_size


def test_without_a_cache_the_bundles_own_weights_are_mapped(
    whole: Path, monkeypatch: pytest.MonkeyPatch, model: Classifier
) -> None:
    monkeypatch.setenv("DEMUR_CACHE", "off")
    loaded = demur.load(whole, threads=1)
    assert maps(whole)
    assert logits(loaded) == logits(model)


def test_a_small_bundle_keeps_nothing(empty: Path) -> None:
    demur.load(threads=1)
    assert _session.READY_FROM == 100_000_000
    assert not empty.exists()


@pytest.mark.parametrize("file", [_cache.GRAPH, _cache.WEIGHTS, "entry.json"])
def test_damage_to_what_is_kept_never_changes_a_score(whole: Path, cache: Path, model: Classifier, file: str) -> None:
    demur.load(whole, threads=1)
    (entry,) = entries(cache)
    flip(entry / file)
    assert logits(demur.load(whole, threads=1)) == logits(model)
    assert entries(cache) == [entry]


def test_a_kept_graph_that_does_not_open_is_thrown_away(whole: Path, cache: Path, model: Classifier) -> None:
    demur.load(whole, threads=1)
    (entry,) = entries(cache)
    (entry / _cache.GRAPH).write_bytes(b"no graph")
    record = json.loads((entry / "entry.json").read_text())
    record["files"] = _cache._facts(entry)
    (entry / "entry.json").write_text(json.dumps(record))
    assert logits(demur.load(whole, threads=1)) == logits(model)
    assert not entries(cache)


@pytest.mark.parametrize("verify", [True, False])
def test_damaged_weights_are_never_made_ready(copy: Path, cache: Path, verify: bool) -> None:
    flip(copy / "model.onnx_data")
    if verify:
        with pytest.raises(ChecksumError, match=r"model\.onnx_data: sha256 is"):
            demur.load(copy, threads=1)
    else:
        demur.load(copy, threads=1, verify=False)
    assert not entries(cache)


def test_damaged_weights_are_named_when_an_entry_is_there(copy: Path, cache: Path) -> None:
    demur.load(copy, threads=1)
    flip(copy / "model.onnx_data")
    with pytest.raises(ChecksumError, match=r"model\.onnx_data: sha256 is"):
        demur.load(copy, threads=1)


def test_weights_that_are_gone_or_cut_off_are_named(copy: Path) -> None:
    data = copy / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(TruncatedFileError, match=r"model\.onnx_data"):
        demur.load(copy)
    data.unlink()
    with pytest.raises(MissingFileError, match=r"model\.onnx_data"):
        demur.load(copy)


def _put(folder: Path, change: dict[str, object]) -> None:
    manifest = json.loads((folder / "demur.json").read_text())
    manifest["files"] |= change
    (folder / "demur.json").write_text(json.dumps(manifest))


def test_weights_of_another_bundle_are_an_error(copy: Path, cache: Path) -> None:
    flip(copy / "model.onnx_data")
    _put(copy, {"weights": json.loads((copy / "demur.json").read_text())["files"]["weights"] | {"sha256": "0" * 64}})
    with pytest.raises(ModelError, match=r"the graph is for weights of sha256 .* but the manifest records 0000"):
        demur.load(copy, threads=1, verify=False)


def test_a_manifest_of_this_format_names_the_weights(copy: Path) -> None:
    manifest = json.loads((copy / "demur.json").read_text())
    assert manifest["format"] == 2
    del manifest["files"]["weights"]
    (copy / "demur.json").write_text(json.dumps(manifest))
    with pytest.raises(MissingKeyError, match=r"files\.weights"):
        demur.load(copy)


def test_every_file_of_the_bundle_is_known_to_who_copies_it(whole: Path) -> None:
    bundle = _bundle.read(whole)
    assert {file.path.name for file in bundle.files} == {"model.onnx", "model.onnx_data", "tokenizer.json"}
    assert bundle.size == sum((whole / name).stat().st_size for name in {file.path.name for file in bundle.files})


def test_a_full_disk_is_no_error(whole: Path, cache: Path, model: Classifier) -> None:
    """Files can't grow beyond 8 MB here; the weights are larger."""
    program = (
        "import sys, demur; from demur import _session; _session.READY_FROM = 0; "
        "m = demur.load(sys.argv[1], threads=1); "
        "print(*(x for t in sys.argv[2:] for x in m.check(t).logits))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(whole), *TEXTS],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, 8_000_000)),
    )
    assert [float(x) for x in ran.stdout.split()] == [x for one in logits(model) for x in one]
    assert not entries(cache)


def test_products_that_are_made_exact_stay_so(whole: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where 8-bit products saturate, what is kept is the graph as it was rewritten."""
    exact = onnxruntime.InferenceSession(str(whole / "model.onnx"), _session.options(1, saturating=True))
    monkeypatch.setattr(_machine, "int8_saturates", lambda: True)
    demur.load(whole, threads=1)
    loaded = demur.load(whole, threads=1)
    (entry,) = entries(cache)
    assert maps(entry)
    for text in TEXTS:
        found = exact.run(["logits"], {"token_ids": [loaded.encode(text)]})[0][0].tolist()
        assert list(loaded.check(text).logits) == found
