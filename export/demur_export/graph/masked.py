"""demur's graph behind the inputs that other clients feed: token ids padded to one length, and a mask.

Every product keeps its weights, quantised or not; what changes is what padding would touch: attention leaves masked
keys out, and a mean over tokens counts the real ones. Padding goes behind the tokens, as the tokenizers of these models
put it: positions are counted from the first id.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from demur._session import INPUT
from demur_export.graph.editor import Editor, node
from demur_export.graph.window import BEYOND

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
# Where MultiHeadAttention takes its mask, among its inputs.
_KEY_MASK = 4


def masked(model: onnx.ModelProto, types: NDArray[np.float32] | None = None) -> onnx.ModelProto:
    """Return the graph from `input_ids` and `attention_mask`, int64 `[batch, n]`, to `logits` `[batch, labels]`.

    Args:
        model: demur's graph of a BERT, RoBERTa or ModernBERT classifier, by any recipe that computes in fp32 between
            its products.
        types: Embeddings of token types `[types, hidden]`, where the model has them: the graph has the input
            `token_type_ids` then. demur's own reads every token as of type 0.
    """
    graph = _Masked(model)
    graph.attention()
    graph.window()
    graph.mean()
    if types is not None:
        graph.types(types)
    return graph.model([IDS, MASK] if types is None else [IDS, MASK, TYPES])


class _Masked:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._editor = Editor(model)
        self._first: list[onnx.NodeProto] = []  # what stands before all else: it reads inputs and constants alone
        for reader in self._editor.consumers(INPUT):
            reader.input[:] = [IDS if name == INPUT else name for name in reader.input]

    def attention(self) -> None:
        """Leave masked keys out where all tokens are seen."""
        found = [n for n in self._editor.nodes if n.op_type == "MultiHeadAttention"]
        if found:
            self._first.append(node("Cast", "mask.keys", [MASK], to=TensorProto.INT32))
        for mixing in found:
            mask = "mask.keys"
            cut = self._editor.producer(f"{mixing.name}.reached")
            if cut is not None:  # the last layer of a classifier by its first token reads no more than that one sees
                mask = f"{mixing.name}.mask"
                self._editor.insert_before(mixing, [node("Slice", mask, ["mask.keys", *cut.input[1:]])])
            mixing.input.extend([""] * (_KEY_MASK - len(mixing.input)) + [mask])
            # subtle: the operator's default of -10,000 is no bound where a few channels are a hundred times the rest.
            mixing.attribute.append(helper.make_attribute("mask_filter_value", BEYOND))

    def window(self) -> None:
        """Leave masked keys out of the blocks of layers that see nearby tokens."""
        band = self._editor.producer("window.band")
        if band is None:
            return
        readers, real = self._editor.consumers("window.band"), self._number(1)
        hidden = [node("Equal", "mask.real", [MASK, real])]
        choices = [self._put(f"mask.{name}", np.float32(value)) for name, value in (("in", 0), ("out", BEYOND))]
        hidden.append(node("Where", "mask.hidden", ["mask.real", *choices]))
        self._first += hidden
        added = [
            node("Gather", "mask.hidden.keys", ["mask.hidden", "window.key"], axis=1),  # [batch, blocks, keys]
            node("Unsqueeze", "mask.hidden.blocks", ["mask.hidden.keys", self._numbers(1, 3)]),
            node("Add", "window.band.masked", ["window.band", "mask.hidden.blocks"]),
        ]
        self._editor.replace(band, [band, *added])
        for reader in readers:
            reader.input[:] = ["window.band.masked" if name == "window.band" else name for name in reader.input]

    def mean(self) -> None:
        """Count the real tokens alone where the classifier reads a mean, `[batch, hidden, n]` to `[batch, hidden]`."""
        pooling = self._editor.producer("channels.mean")
        if pooling is None:
            return
        self._first += [
            node("Cast", "mask.weights", [MASK], to=TensorProto.FLOAT),
            node("Unsqueeze", "mask.weights.row", ["mask.weights", self._numbers(1)]),
            node("ReduceSum", "mask.count", ["mask.weights", self._numbers(1)], keepdims=1),
        ]
        by = [
            node("Mul", "channels.real", ["channels", "mask.weights.row"]),
            node("ReduceSum", "channels.sum", ["channels.real", self._numbers(2)], keepdims=0),
            node("Div", "channels.mean", ["channels.sum", "mask.count"]),
        ]
        self._editor.replace(pooling, by)

    def types(self, table: NDArray[np.float32]) -> None:
        """Add what a token's type differs by from type 0, which is among the positions already."""
        (total,) = (n for n in self._editor.nodes if n.name == "embeddings.sum")
        differences = self._put("embeddings.types", np.asarray(table - table[0], np.float32))
        own = node("Gather", "embeddings.types.used", [differences, TYPES])
        before = node("Add", "embeddings.untyped", list(total.input))
        sums = node("Add", "embeddings.sum", ["embeddings.untyped", "embeddings.types.used"])
        self._editor.replace(total, [before, own, sums])

    def model(self, inputs: list[str]) -> onnx.ModelProto:
        self._editor.nodes[:0] = self._first
        made = self._editor.model()
        del made.graph.input[:]
        made.graph.input.extend(helper.make_tensor_value_info(i, TensorProto.INT64, ["batch", "n"]) for i in inputs)
        return made

    def _put(self, name: str, value: Any) -> str:
        return self._editor.put(name, np.asarray(value))

    def _number(self, value: int) -> str:
        return self._put(f"int64:scalar:{value}", np.array(value, np.int64))

    def _numbers(self, *values: int) -> str:
        return self._put("int64:" + ",".join(map(str, values)), np.array(values, np.int64))
