"""Writes an ONNX graph node by node."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from demur._session import INPUT, LIMIT, OUTPUT

# The lowest versions that hold every operator used here, so that older onnxruntimes load the graph.
_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
_IR = 8
CONTRIB = "com.microsoft"
# The word embeddings, which recipes store by rows.
WORDS = "embeddings.words"


class Builder:
    """A graph in the making. Every method that adds a node returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant once; the same name is the same constant."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def integers(self, *values: int) -> str:
        """Add an int64 vector."""
        return self.constant("int64:" + ",".join(map(str, values)), np.array(values, np.int64))

    def add(
        self, op: str, name: str, inputs: Sequence[str], domain: str = "", spare: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Add a node whose output has the node's name; `spare` are the names of further ones."""
        self._nodes.append(helper.make_node(op, inputs, [name, *spare], name=name, domain=domain, **attributes))
        return name

    def contrib(self, op: str, name: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of onnxruntime's own operator set."""
        return self.add(op, name, inputs, CONTRIB, **attributes)

    def onto(self, model: onnx.ModelProto) -> None:
        """Add the nodes and constants to a graph, behind its own."""
        there = {tensor.name for tensor in model.graph.initializer}
        model.graph.node.extend(self._nodes)
        model.graph.initializer.extend(tensor for name, tensor in self._constants.items() if name not in there)

    def model(self, labels: int, max_tokens: int) -> onnx.ModelProto:
        """Return the graph from `token_ids` int64 `[batch, n]`, n to `max_tokens`, to `logits` `[batch, labels]`."""
        graph = helper.make_graph(
            self._nodes,
            "demur",
            [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["batch", "n"])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", labels])],
            list(self._constants.values()),
        )
        made = helper.make_model(graph, opset_imports=_OPSETS, ir_version=_IR, producer_name="demur-export")
        helper.set_model_props(made, {LIMIT: str(max_tokens)})
        return made
