"""The shipped bundle on x86 without VNNI, where two u8 x s8 products are added in 16 bits and saturate.

No such processor is needed: what its `vpmaddubsw` would compute is computed in numpy, and the graph that onnxruntime
makes of the bundle there is made here with the same options.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.export
onnx = pytest.importorskip("onnx")

import onnxruntime as ort

import demur
from demur import _bundle, _session

TEXTS = (
    "I'm sorry, but I can't help with that.",
    "The capital of France is Paris, a city of two million people on the Seine.",
    "\uc8c4\uc1a1\ud558\uc9c0\ub9cc \ub3c4\uc640\ub4dc\ub9b4 \uc218 \uc5c6\uc2b5\ub2c8\ub2e4.",
)


def pairs(left: NDArray[np.uint8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sums `[n, pairs, outputs]` of two neighbouring products each, as wide as they are."""
    n, width = left.shape
    a = left.astype(np.int64).reshape(n, width // 2, 2)
    b = right.astype(np.int64).reshape(width // 2, 2, -1)
    return np.asarray(np.einsum("npi,pio->npo", a, b))


def saturating(left: NDArray[np.uint8], right: NDArray[np.int8]) -> NDArray[np.int64]:
    """The product `[n, outputs]` as vpmaddubsw and vpmaddwd compute it (Intel SDM, volume 2): pairs held to int16."""
    return np.asarray(np.clip(pairs(left, right), -(2**15), 2**15 - 1).sum(1))


class Products:
    """The shipped bundle's int8 products, with what goes in and comes out of each.

    Args:
        saturates: Whether the graph is opened as on a processor on which products saturate.
        folder: For the graph as onnxruntime optimises it.
    """

    def __init__(self, saturates: bool, folder: Path) -> None:
        model = onnx.load(_bundle.read(_bundle.find(None)).model.path)
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        self.nodes = [n for n in model.graph.node if n.op_type == "MatMulIntegerToFloat"]
        shown = list(dict.fromkeys(name for n in self.nodes for name in (n.input[0], n.output[0])))
        for name in shown:
            kind = onnx.TensorProto.UINT8 if name.endswith(".q") else onnx.TensorProto.FLOAT
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, kind, None))
        options = _session.options(1, saturates)
        options.optimized_model_filepath = str(folder / "optimised.onnx")
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.optimised = onnx.load(folder / "optimised.onnx")
        self._session, self._shown = session, shown

    def run(self, ids: list[int]) -> dict[str, NDArray[np.generic]]:
        values = self._session.run(self._shown, {_session.INPUT: [ids]})
        return dict(zip(self._shown, values, strict=True))


@pytest.fixture(scope="module", params=[False, True], ids=["as it is", "where products saturate"])
def products(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Products:
    return Products(request.param, tmp_path_factory.mktemp("optimised"))


def test_every_product_is_exact(products: Products, model: demur.Classifier) -> None:
    assert len(products.nodes) >= 30
    values = products.run(model.encode(TEXTS[0]))
    for node in products.nodes:
        left, right = values[node.input[0]][0], products.constants[node.input[1]]
        zero = int(products.constants[node.input[4]])
        scale = products.constants[node.input[2]] * products.constants[node.input[3]]
        exact = ((left.astype(np.int64) - zero) @ right.astype(np.int64)) * scale.astype(np.float64)
        if len(node.input) > 6 and node.input[6]:
            exact = exact + products.constants[node.input[6]]
        assert values[node.output[0]][0] == pytest.approx(exact, rel=1e-5, abs=1e-5), node.name


def test_saturation_would_change_the_answers(products: Products, model: demur.Classifier) -> None:
    # Why demur asks onnxruntime for the rewrite at all: were this to fail, EXACT_INT8 could go.
    values = [products.run(model.encode(text)) for text in TEXTS]
    spoilt = 0
    for node in products.nodes:
        right = products.constants[node.input[1]]
        for found in values:
            left = found[node.input[0]][0][:8]
            spoilt += int((saturating(left, right) != left.astype(np.int64) @ right.astype(np.int64)).sum())
    assert spoilt > 0


def test_no_product_of_u8_and_s8_is_left_where_they_saturate(tmp_path: Path) -> None:
    graph = Products(True, tmp_path).optimised.graph
    kinds = {t.name: t.data_type for t in graph.initializer}
    weights = [kinds[n.input[1]] for n in graph.node if n.op_type == "MatMulIntegerToFloat"]
    assert len(weights) >= 30
    assert set(weights) == {onnx.TensorProto.UINT8}


def test_the_emulation_saturates_as_the_instruction_does() -> None:
    left, right = np.array([[255, 255, 255, 1]], np.uint8), np.array([[127], [127], [-128], [0]], np.int8)
    assert pairs(left, right).tolist() == [[[64770], [-32640]]]
    assert saturating(left, right).tolist() == [[32767 - 32640]]
    assert saturating(left, (right // 2).astype(np.int8)).tolist() == [[2 * 63 * 255 - 64 * 255]]
