"""A checkpoint's table of n-grams (`demur_export.ngrams`) as nodes behind a classifier's graph."""

import numpy as np
import onnx
from onnx import TensorProto

from demur._session import INPUT, OUTPUT
from demur_export.graph.builder import Builder
from demur_export.ngrams import FACTORS, LONGEST, OFFSETS, Ngrams

_ENCODER = "encoder.logits"
_END = int(np.iinfo(np.int64).max)


def attach(model: onnx.ModelProto, ngrams: Ngrams, refusal: int) -> onnx.ModelProto:
    """Return the graph with the table's part added to the logit of refusal.

    Every row's n-grams are sorted, so that equal ones lie together and each counts once; sums of int8 weights are
    exact, so a row's result is the same in any batch.

    Args:
        model: A classifier's graph.
        ngrams: The table.
        refusal: Which output is the refusal.
    """
    b = _Nodes()
    (shape,) = (output.type.tensor_type.shape for output in model.graph.output)
    labels = shape.dim[1].dim_value
    scales = np.zeros((1, labels), np.float32)
    scales[0, refusal] = ngrams.scale
    parts = b.add("Mul", "ngrams.logits", [b.sums(ngrams), b.constant("ngrams.scales", scales)])
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    (last,) = (node for node in changed.graph.node if OUTPUT in node.output)
    last.name = last.output[0] = _ENCODER
    b.add("Add", OUTPUT, [_ENCODER, parts])
    b.onto(changed)
    return changed


class _Nodes(Builder):
    """The nodes that compute `Ngrams.score` for every row of the token ids."""

    def sums(self, ngrams: Ngrams) -> str:
        """Sum of the weights over the root of their number, `[batch, 1]`, from the token ids `[batch, n]`."""
        sorted_places = self._sorted(self._places(ngrams))
        one, end = self.integers(1), self.integers(_END)
        this = self.add("Slice", "ngrams.this", [sorted_places, self.integers(0), self.integers(-1), one])
        following = self.add("Slice", "ngrams.following", [sorted_places, one, end, one])
        repeated = self.add("Equal", "ngrams.repeated", [this, following])
        # Places are in falling order: what equals its successor is counted there, and the zeros come last.
        distinct = self.add("Where", "ngrams.distinct", [repeated, self._scalar(0), this])
        table = self.constant("ngrams.weights", ngrams.weights)
        weights = self._cast(self.add("Gather", "ngrams.gathered", [table, distinct]), TensorProto.INT32)
        total = self._cast(self.add("ReduceSum", "ngrams.total", [weights, one], keepdims=1), TensorProto.FLOAT)
        present = self.add("Sign", "ngrams.present", [distinct])
        count = self._cast(self.add("ReduceSum", "ngrams.count", [present, one], keepdims=1), TensorProto.FLOAT)
        count = self.add("Max", "ngrams.divisor", [count, self.constant("ngrams.one", np.array(1, np.float32))])
        return self.add("Div", "ngrams.score", [total, self.add("Sqrt", "ngrams.root", [count])])

    def _places(self, ngrams: Ngrams) -> str:
        """Buckets `[batch, 3n - 6]` of all n-grams, 0 for those that lie before the reply."""
        ids = self._cut(INPUT, "ngrams.ids", 0, -1)
        terms = [self.add("Mul", f"ngrams.term.{j}", [ids, self._scalar(FACTORS[j])]) for j in range(LONGEST)]
        sums, hashed = terms[0], [terms[0]]
        for n in range(2, LONGEST + 1):
            head, tail = self._cut(sums, f"ngrams.head.{n}", 0, -1), self._cut(terms[n - 1], f"ngrams.tail.{n}", n - 1)
            sums = self.add("Add", f"ngrams.sum.{n}", [head, tail])
            hashed.append(self.add("Add", f"ngrams.hash.{n}", [sums, self._scalar(OFFSETS[n - 1])]))
        every = self.add("Concat", "ngrams.hashes", hashed, axis=1)
        bucket = self.add("Mod", "ngrams.bucket", [every, self._scalar(ngrams.buckets)])
        bucket = self.add("Add", "ngrams.place", [bucket, self._scalar(1)])
        return self.add("Where", "ngrams.places", [self._in_reply(ids, ngrams.after), bucket, self._scalar(0)])

    def _in_reply(self, ids: str, after: int) -> str:
        """Whether an n-gram begins behind the last role tag, `[batch, 3n - 6]`."""
        tags = self.add("Equal", "ngrams.tags", [INPUT, self._scalar(after)])
        tags = self._cast(tags, TensorProto.INT32)
        # subtle: where there is no tag all are equal, and the last place leaves no n-gram behind it.
        last = self.add("ArgMax", "ngrams.tag", [tags], axis=1, keepdims=1, select_last_index=1)
        shape = self.add("Shape", "ngrams.shape", [ids])
        length = self.add("Gather", "ngrams.length", [shape, self._scalar(1)])
        starts = self.add("Range", "ngrams.starts.1", [self._scalar(0), length, self._scalar(1)])
        every = [starts]
        for n in range(2, LONGEST + 1):
            every.append(self.add("Slice", f"ngrams.starts.{n}", [starts, self.integers(0), self.integers(1 - n)]))
        return self.add("Greater", "ngrams.behind", [self.add("Concat", "ngrams.starts", every, axis=0), last])

    def _sorted(self, places: str) -> str:
        """Every row in falling order, and a 0 behind it."""
        padded = self.add("Pad", "ngrams.padded", [places, self.integers(0, 0, 0, 1)])
        size = self.add("Shape", "ngrams.padded.shape", [padded])
        size = self.add("Slice", "ngrams.size", [size, self.integers(1), self.integers(2)])
        return self.add("TopK", "ngrams.sorted", [padded, size], spare=["ngrams.order"], axis=1)

    def _cut(self, states: str, name: str, first: int, end: int | None = None) -> str:
        """Columns from `first` to `end` of `[batch, n]`."""
        stop = _END if end is None else end
        return self.add("Slice", name, [states, self.integers(first), self.integers(stop), self.integers(1)])

    def _cast(self, value: str, to: TensorProto.DataType) -> str:
        return self.add("Cast", f"{value}.{TensorProto.DataType.Name(to).lower()}", [value], to=to)

    def _scalar(self, value: int) -> str:
        return self.constant(f"int64:scalar:{value}", np.array(value, np.int64))
