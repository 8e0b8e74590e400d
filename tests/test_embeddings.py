"""The table of word embeddings, most of a multilingual model, stays in 8 bits: by rows, on disk and in memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

pytestmark = [
    pytest.mark.export,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
pytest.importorskip("torch")

import _checkpoints
import onnxruntime

from demur._session import INPUT, OUTPUT, options
from demur_export import checkpoint, convert, quantize
from demur_export.graph import bert
from demur_export.graph.builder import Builder
from demur_export.graph.editor import Editor

GATHERED = "embeddings.gathered"
EIGHT_BITS = sorted(quantize.RECIPES.keys() - {"fp32", "fp16"})


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """A graph whose embeddings are a thousandth to thirty times as large as one another, and its table."""
    source = checkpoint.read(_checkpoints.bert(tmp_path_factory.mktemp("checkpoint")))
    editor = Editor(bert.build(convert.to_onnx(source), source.config))
    table = editor.constant(bert.WORDS)
    assert table is not None
    sizes = 10 ** np.random.default_rng(0).uniform(-3, 1.5, (len(table), 1))
    table = (table * sizes).astype(np.float32)
    editor.put(bert.WORDS, table)
    return editor.model(), table


@pytest.mark.parametrize("recipe", EIGHT_BITS)
def test_small_rows_keep_their_digits_beside_large_ones(
    uneven: tuple[onnx.ModelProto, NDArray[np.float32]], recipe: str
) -> None:
    model, table = uneven
    texts = [np.arange(len(table), dtype=np.int64)[None, i : i + 100] for i in range(0, len(table), 20)]
    made = quantize.RECIPES[recipe](model, texts).model
    made.graph.output.append(onnx.helper.make_tensor_value_info(GATHERED, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(made.SerializeToString(), options(1), providers=["CPUExecutionProvider"])
    for ids in texts:
        found, true = session.run([GATHERED], {INPUT: ids})[0][0], table[ids[0]]
        assert (np.linalg.norm(found - true, axis=1) <= 0.015 * np.linalg.norm(true, axis=1)).all()


@pytest.mark.parametrize("recipe", EIGHT_BITS)
def test_a_large_column_leaves_steps_for_the_others(
    uneven: tuple[onnx.ModelProto, NDArray[np.float32]], recipe: str
) -> None:
    model, table = uneven
    large = table.copy()
    large[:, 5] = 100 * np.abs(table).max(1)
    editor = Editor(model)
    editor.put(bert.WORDS, large)
    ids = np.arange(20, 110, dtype=np.int64)[None]
    made = quantize.RECIPES[recipe](editor.model(), [ids] * 5).model
    made.graph.output.append(onnx.helper.make_tensor_value_info(GATHERED, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(made.SerializeToString(), options(1), providers=["CPUExecutionProvider"])
    found, true = session.run([GATHERED], {INPUT: ids})[0][0], large[ids[0]]
    others = np.arange(table.shape[1]) != 5
    found, true = found[:, others], true[:, others]
    assert (np.linalg.norm(found - true, axis=1) <= 0.02 * np.linalg.norm(true, axis=1)).all()


@pytest.mark.parametrize("recipe", EIGHT_BITS)
def test_no_table_is_stored_in_more_than_eight_bits(
    uneven: tuple[onnx.ModelProto, NDArray[np.float32]], recipe: str
) -> None:
    model, table = uneven
    made = quantize.RECIPES[recipe](model, [np.arange(i, i + 90, dtype=np.int64)[None] for i in range(5)]).model
    kinds = {t.data_type for t in made.graph.initializer if tuple(t.dims) == table.shape}
    assert kinds == {onnx.TensorProto.INT8}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("saturating", [False, True])
def test_a_large_table_is_never_expanded(tmp_path: Path, saturating: bool) -> None:
    rng, b = np.random.default_rng(0), Builder()
    words = b.constant(bert.WORDS, rng.standard_normal((100_000, 256), dtype=np.float32))
    words = b.add("Gather", GATHERED, [words, INPUT])
    first = b.add("Slice", "first", [words, b.integers(0), b.integers(1), b.integers(1)])
    weight = b.constant("weight", rng.standard_normal((256, 2), dtype=np.float32))
    b.add("Squeeze", OUTPUT, [b.add("MatMul", "product", [first, weight]), b.integers(1)])
    path = tmp_path / "model.onnx"
    path.write_bytes(quantize.int8(b.model(2, 512), []).model.SerializeToString())
    # subtle: VmHWM, since the resource module's peak begins with that of the process that started this one.
    script = f"""
import numpy, onnxruntime, re
from demur._session import INPUT, options
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
session = onnxruntime.InferenceSession({str(path)!r}, options(1, {saturating}), providers=["CPUExecutionProvider"])
session.run(None, {{INPUT: numpy.arange(0, 100_000, 200)[None]}})
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # The file is read and then copied, so twice its size is needed at load; the table in fp32 would be four more.
    assert int(run.stdout) < 3 * path.stat().st_size
