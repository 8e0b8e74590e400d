"""A graph in one file or with its weights beside it is the same graph, and stays whole for whom has it mapped."""

import mmap
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from demur import _session
from demur_export import storing
from demur_export.graph.builder import Builder

pytestmark = pytest.mark.export
SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=5)


def graph(sizes: list[int]) -> onnx.ModelProto:
    """A graph with constants of so many bytes, of two kinds."""
    b = Builder()
    for i, size in enumerate(sizes):
        b.constant(f"c{i}", np.arange(size, dtype=np.int8) if i % 2 else np.arange(size / 4, dtype=np.float32))
    b.add("Cast", "float", ["token_ids"], to=onnx.TensorProto.FLOAT)
    b.add("ReduceSum", "logits", ["float", b.integers(1)])
    return b.model(2, 16)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(SIZES)
def test_a_graph_is_read_as_it_was_written(tmp_path: Path, sizes: list[int]) -> None:
    model = graph(sizes)
    before = model.SerializeToString(deterministic=True)
    data = storing.write(tmp_path / "model.onnx", model, most=0)
    assert model.SerializeToString(deterministic=True) == before
    assert data is not None
    read = onnx.load(tmp_path / "model.onnx")
    assert {entry.key: entry.value for entry in read.metadata_props} == {
        _session.LIMIT: "16",
        _session.WEIGHTS: storing.record(data)["sha256"],
    }
    assert list(read.graph.node) == list(model.graph.node)
    for found, expected in zip(read.graph.initializer, model.graph.initializer, strict=True):
        assert found.name == expected.name
        np.testing.assert_array_equal(numpy_helper.to_array(found), numpy_helper.to_array(expected))


def test_weights_begin_at_pages_and_small_constants_stay_in_the_graph(tmp_path: Path) -> None:
    storing.write(tmp_path / "model.onnx", graph([4000, 4096, 40_001, 5000]), most=0)
    light = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    stored = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data} for tensor in light.graph.initializer
    }
    assert {name for name, facts in stored.items() if facts} == {"c1", "c2", "c3"}
    offsets = [int(facts["offset"]) for facts in stored.values() if facts]
    assert all(offset % mmap.PAGESIZE == 0 for offset in offsets)
    assert offsets == sorted(set(offsets))


def test_few_weights_stay_in_one_file(tmp_path: Path) -> None:
    path, model = tmp_path / "model.onnx", graph([4096, 8192])
    storing.write(path, model, most=0)
    assert storing.write(path, model, most=storing.size(model)) is None
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert onnx.load(path) == model


def test_what_is_mapped_stays_as_it_was_when_the_file_is_written_again(tmp_path: Path) -> None:
    data = storing.write(tmp_path / "model.onnx", graph([40_000]), most=0)
    assert data is not None
    before = data.read_bytes()
    with data.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as seen:
        storing.write(tmp_path / "model.onnx", graph([8_000]), most=0)
        assert seen[:] == before


def test_bundles_of_more_than_a_megabyte_are_mapped() -> None:
    assert storing.MAPPED_FROM == 1_000_000
    assert storing.size(graph([400, 7])) == 400 + 7 + 8  # with the axis of the sum
