"""Reads a model's weights out of an exported ONNX graph, by the names that they have in PyTorch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from demur.errors import CheckpointError

Array = NDArray[np.float32]


class Linear(NamedTuple):
    """y = x @ weight + bias."""

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs]


class Weights:
    """The constants of an exported graph.

    Layers with byte-equal weights are exported once and stand behind `Identity` nodes elsewhere; those are
    resolved here, so that no weight is missed. What was read is counted: `unread` names the rest.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._aliases = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity"}
        self._nodes: Mapping[str, onnx.NodeProto] = {node.name: node for node in model.graph.node}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self._read: set[str] = set()

    def parameter(self, name: str) -> Array:
        """Return the parameter `name`, such as `bert.embeddings.LayerNorm.weight`.

        Raises:
            CheckpointError: The graph has none of that name.
        """
        array = self._constant(name)
        if array is None:
            raise CheckpointError(
                f"the exported graph has no constant {name!r}; its architecture is not the expected one"
            )
        return array

    def linear(self, module: str) -> Linear:
        """Return weight and bias of a linear layer, such as `bert.encoder.layer.0.output.dense`.

        Raises:
            CheckpointError: The graph has no matrix product under that name.
        """
        path = "/" + _scope(module)
        if (node := self._nodes.get(f"{path}/Gemm")) is not None:
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            weight = self.parameter(node.input[1])
            return Linear(np.ascontiguousarray(weight.T) if transposed else weight, self.parameter(node.input[2]))
        if (node := self._nodes.get(f"{path}/MatMul")) is not None:
            for add in self._consumers.get(node.output[0], []):
                constants = [c for c in map(self._constant, add.input) if add.op_type == "Add" and c is not None]
                if constants:
                    return Linear(self.parameter(node.input[1]), constants[0])
        raise CheckpointError(
            f"the exported graph has no linear layer {module!r}; its architecture is not the expected one"
        )

    def unread(self, least: int = 2) -> list[str]:
        """Return the floating-point constants of at least `least` elements that nothing has read."""
        return [
            name
            for name, tensor in self._tensors.items()
            if name not in self._read
            and tensor.data_type == onnx.TensorProto.FLOAT
            and int(np.prod(tensor.dims, dtype=np.int64)) >= least
        ]

    def _constant(self, name: str) -> Array | None:
        while name not in self._tensors and name in self._aliases:
            name = self._aliases[name]
        if name not in self._tensors:
            return None
        self._read.add(name)
        array: Array = numpy_helper.to_array(self._tensors[name])
        return array


def _scope(module: str) -> str:
    """Return a module's path as the exporter names scopes: `encoder.layer.0.output` is `encoder/layer.0/output`."""
    parts: list[str] = []
    for part in module.split("."):
        if part.isdigit():
            parts[-1] += f".{part}"
        else:
            parts.append(part)
    return "/".join(parts)
