"""Changes an ONNX graph: constants by name, and nodes replaced in place."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Nodes = list[onnx.NodeProto]

_HELD = onnx.GraphProto.INITIALIZER_FIELD_NUMBER


class Editor:
    """A copy of a model with its constants at hand.

    Attributes:
        nodes: The nodes in order.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        # The constants are kept once, as arrays: those of a large model take gigabytes.
        self._model = without_constants(model)
        self._constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self.nodes: Nodes = list(self._model.graph.node)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the constant `name`, None if it is no constant."""
        return self._constants.get(name)

    def put(self, name: str, value: NDArray[Any]) -> str:
        """Set the constant `name`."""
        self._constants[name] = np.asarray(value, order="C")
        return name

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node whose output `name` is."""
        return next((node for node in self.nodes if name in node.output), None)

    def consumers(self, name: str) -> Nodes:
        """Return the nodes that read `name`."""
        return [node for node in self.nodes if name in node.input]

    def products(self) -> Iterator[tuple[onnx.NodeProto, NDArray[np.float32]]]:
        """Yield every matrix product with a constant weight, and the weight `[inputs, outputs]`."""
        for node in list(self.nodes):
            weight = self._constants.get(node.input[1]) if node.op_type == "MatMul" else None
            if weight is not None and weight.ndim == 2:
                yield node, weight

    def replace(self, node: onnx.NodeProto, by: Sequence[onnx.NodeProto]) -> None:
        """Put `by` in the place of `node`."""
        at = next(i for i, other in enumerate(self.nodes) if other is node)
        self.nodes[at : at + 1] = by

    def insert_before(self, node: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Put `new` before `node`."""
        self.replace(node, [*new, node])

    def model(self) -> onnx.ModelProto:
        """Return the changed model; constants that nothing reads are left out."""
        used = {name for node in self.nodes for name in node.input}
        graph = self._model.graph
        kept = (numpy_helper.from_array(value, name) for name, value in self._constants.items() if name in used)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(kept)
        return self._model


def without_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model that has no constants."""
    # subtle: never copied in the first place. What is deleted from a message stays in memory as long as the message.
    graph = onnx.GraphProto(**{field.name: value for field, value in model.graph.ListFields() if field.number != _HELD})
    made = onnx.ModelProto(**{field.name: value for field, value in model.ListFields() if field.name != "graph"})
    made.graph.CopyFrom(graph)
    return made


def node(op: str, output: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> onnx.NodeProto:
    """Return a node of one output, which has the node's name."""
    return helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes)
