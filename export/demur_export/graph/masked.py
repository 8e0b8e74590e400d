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

from demur._session import INPUT, MASK
from demur_export.graph.editor import Editor, node
from demur_export.ngrams import LONGEST

IDS, TYPES = "input_ids", "token_type_ids"
# Where MultiHeadAttention takes its mask, among its inputs.
_KEY_MASK = 4
# Added to a score it leaves a weight of 0. Half precision holds it too, with a score added: a row of nothing but
# infinities would be a row of NaN, of which even a weight of 0 makes more.
_HIDDEN = -3e4


def masked(model: onnx.ModelProto, types: NDArray[np.float32] | None = None, *, ids: str = IDS) -> onnx.ModelProto:
    """Return the graph from `input_ids` and `attention_mask`, int64 `[batch, n]`, to `logits` `[batch, labels]`.

    Args:
        model: demur's graph of a BERT, RoBERTa or ModernBERT classifier, by any recipe that computes in fp32 between
            its products. To mask one in half precision, mask it before it is converted.
        types: Embeddings of token types `[types, hidden]`, where the model has them: the graph has the input
            `token_type_ids` then. demur's own reads every token as of type 0.
        ids: What the input of token ids is called.
    """
    graph = _Masked(model, ids)
    graph.attention()
    graph.window()
    graph.mean()
    graph.ngrams()
    if types is not None:
        graph.types(types)
    return graph.model([ids, MASK] if types is None else [ids, MASK, TYPES])


class _Masked:
    def __init__(self, model: onnx.ModelProto, ids: str) -> None:
        self._editor = Editor(model)
        self._first: list[onnx.NodeProto] = []  # what stands before all else: it reads inputs and constants alone
        for reader in self._editor.consumers(INPUT):
            reader.input[:] = [ids if name == INPUT else name for name in reader.input]

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
            mixing.attribute.append(helper.make_attribute("mask_filter_value", _HIDDEN))

    def window(self) -> None:
        """Leave masked keys out of the blocks of layers that see nearby tokens."""
        band = self._editor.producer("window.band")
        if band is None:
            return
        readers = self._editor.consumers("window.band")
        self._choose("mask.hidden", 0, _HIDDEN)
        added = [
            node("Gather", "mask.hidden.keys", ["mask.hidden", "window.key"], axis=1),  # [batch, blocks, keys]
            node("Unsqueeze", "mask.hidden.blocks", ["mask.hidden.keys", self._numbers(1, 3)]),
            node("Min", "window.band.masked", ["window.band", "mask.hidden.blocks"]),
        ]
        self._editor.replace(band, [band, *added])
        for reader in readers:
            reader.input[:] = ["window.band.masked" if name == "window.band" else name for name in reader.input]

    def mean(self) -> None:
        """Count the real tokens alone where the classifier reads a mean, `[batch, hidden, n]` to `[batch, hidden]`."""
        pooling = self._editor.producer("channels.mean")
        if pooling is None:
            return
        self._choose("mask.ones", 1, 0)
        self._first += [
            node("ReduceSum", "mask.count", ["mask.ones", self._numbers(1)], keepdims=1),
            node("Div", "mask.weights", ["mask.ones", "mask.count"]),
            node("Unsqueeze", "mask.weights.row", ["mask.weights", self._numbers(1)]),
        ]
        by = [
            node("Mul", "channels.weighted", ["channels", "mask.weights.row"]),
            node("ReduceSum", "channels.mean", ["channels.weighted", self._numbers(2)], keepdims=0),
        ]
        self._editor.replace(pooling, by)

    def ngrams(self) -> None:
        """Leave out the n-grams that reach the closing special token or the padding behind it."""
        behind = self._editor.producer("ngrams.behind")
        if behind is None:
            return
        (reader,) = self._editor.consumers("ngrams.behind")
        last, end = np.iinfo(np.int64).max, "ngrams.ends"
        ends = ["ngrams.starts.1"]
        cuts = []
        for n in range(2, LONGEST + 1):  # where an n-gram ends: the places of later tokens, in the starts' order
            ends.append(f"{end}.{n}")
            cuts.append(node("Slice", ends[-1], ["ngrams.starts.1", self._numbers(n - 1), self._numbers(last)]))
        added = [
            *cuts,
            node("Concat", end, ends, axis=0),
            node("ReduceSum", "ngrams.tokens", [MASK, self._numbers(1)], keepdims=1),
            node("Sub", "ngrams.closing", ["ngrams.tokens", self._numbers(1)]),
            node("Less", "ngrams.before", [end, "ngrams.closing"]),
            node("And", "ngrams.within", ["ngrams.behind", "ngrams.before"]),
        ]
        self._editor.replace(behind, [behind, *added])
        reader.input[:] = ["ngrams.within" if name == "ngrams.behind" else name for name in reader.input]

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

    def _choose(self, name: str, real: float, padding: float) -> None:
        """Put `name` `[batch, n]`: one number where a token is real, another where it pads.

        Both are constants, so that a recipe which changes the type of constants changes that of the result.
        """
        if not any(n.name == "mask.real" for n in self._first):
            self._first.append(node("Equal", "mask.real", [MASK, self._put("int64:scalar:1", np.array(1, np.int64))]))
        choices = [self._put(f"{name}.{i}", np.array(value, np.float32)) for i, value in enumerate((real, padding))]
        self._first.append(node("Where", name, ["mask.real", *choices]))

    def _put(self, name: str, value: Any) -> str:
        return self._editor.put(name, np.asarray(value))

    def _numbers(self, *values: int) -> str:
        return self._put("int64:" + ",".join(map(str, values)), np.array(values, np.int64))
