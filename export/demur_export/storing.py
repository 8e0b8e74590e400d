"""Writes a graph as a file, and where its weights are many these into a second one, which can be mapped into memory."""

import hashlib
import math
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from onnx import TensorProto, helper, numpy_helper

from demur._session import WEIGHTS
from demur_export.graph.editor import without_constants

# Bytes of weights from which on a bundle has a file of them: mapped, they are neither parsed nor copied.
MAPPED_FROM = 1_000_000
# What a single file can hold: a message of protobuf has at most 2 GiB, of which nodes and small constants take some.
ONE_FILE = 2**31 - 2**26
# Bytes of weights from which on a graph is opened from a file in which they are mapped: from memory, onnxruntime copies
# them twice.
LENT_FROM = 100_000_000
# What transformers and optimum add to the graph's name.
_ENDING = "_data"
# Memory is mapped by pages, and smaller constants would waste most of theirs.
_PAGE = 4096


def write(path: Path, model: onnx.ModelProto, most: int = MAPPED_FROM) -> Path | None:
    """Write a graph; no second copy of its weights is made.

    The graph then has the sha256 of the file of weights in its metadata, so that its own covers both.

    Args:
        path: The graph's file. What was written there before stays whole for whom has it mapped.
        model: The graph; it is left as it is.
        most: How many bytes of weights it may hold itself.

    Returns:
        The file of weights beside it, or None if there is none.
    """
    data = path.with_name(path.name + _ENDING)
    remove(path)
    if size(model) <= most:
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return None
    light = _apart(model, data)
    light.metadata_props.add(key=WEIGHTS, value=str(record(data)["sha256"]))
    path.write_bytes(light.SerializeToString())
    onnx.checker.check_model(str(path))
    return data


def lend(path: Path, model: onnx.ModelProto) -> None:
    """Write a graph, and its weights beside it, for this process to open: unchecked, and without a sum."""
    path.write_bytes(_apart(model, path.with_name(path.name + _ENDING)).SerializeToString())


def remove(path: Path) -> None:
    """Delete a graph's file, if it is there, and that of its weights."""
    for file in (path, path.with_name(path.name + _ENDING)):
        file.unlink(missing_ok=True)


def record(path: Path) -> dict[str, Any]:
    """Return what a manifest records of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": path.name, "bytes": path.stat().st_size, "sha256": digest}


def size(model: onnx.ModelProto) -> int:
    """Return the bytes of a graph's weights."""
    return sum(_bytes(tensor) for tensor in model.graph.initializer)


def _bytes(tensor: onnx.TensorProto) -> int:
    return int(math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _apart(model: onnx.ModelProto, data: Path) -> onnx.ModelProto:
    """Write a graph's weights to a file, and return the graph that refers to it."""
    light = without_constants(model)
    with data.open("wb") as stream:
        light.graph.initializer.extend(_stored(tensor, stream, data.name) for tensor in model.graph.initializer)
    return light


def _stored(tensor: onnx.TensorProto, stream: BinaryIO, name: str) -> onnx.TensorProto:
    """Return a constant whose values are at a page's beginning of a file now; a small one as it is."""
    if _bytes(tensor) < _PAGE:
        return tensor
    stream.seek(-(-stream.tell() // _PAGE) * _PAGE)
    begin = stream.tell()
    stream.write(numpy_helper.to_array(tensor).tobytes())
    made = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    made.data_location = TensorProto.EXTERNAL
    for key, value in {"location": name, "offset": begin, "length": stream.tell() - begin}.items():
        made.external_data.add(key=key, value=str(value))
    return made
