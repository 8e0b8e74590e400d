"""Attention in which a token sees its neighbours only, at a cost that grows linearly with the text.

Queries go in blocks, each against the keys that its tokens can reach, and a band in the block's scores leaves out the
corners that lie beyond. Blocks are of equal length, at most `BLOCK` queries, and take their keys from within the
text (at the ends from further inside), so that nothing is padded: a text shorter than a block is computed as it is.
"""

import numpy as np

from demur._session import INPUT
from demur_export.graph.builder import Builder

# Queries to a block. Larger ones compute more scores in vain, smaller ones copy keys more often: with 64 neighbours on
# either side, 2,048 tokens of 16 heads took 63 ms in blocks of 64 and 75 ms in blocks of 128. With onnxruntime's
# MultiHeadAttention and a bias it was 81, 70, 78 and 77 ms in blocks of 32, 64, 96 and 128.
BLOCK = 64
# Added to a score it leaves a weight of 0.
_BEYOND = -1e9


class Window:
    """Attention over `reach` tokens on either side, the token itself included.

    Args:
        builder: Gets the nodes; those that all layers share are added here.
        heads: Number of heads.
        size: Width of a head.
        reach: How far a token sees.
    """

    def __init__(self, builder: Builder, heads: int, size: int, reach: int) -> None:
        self._builder, self._heads, self._size = builder, heads, size
        b, whole = builder, builder.integers
        self._length = b.add("Slice", "window.length", [b.add("Shape", "window.shape", [INPUT]), whole(1), whole(2)])
        blocks = self._divided_up(self._length, whole(BLOCK), "window.blocks")
        queries = self._divided_up(self._length, blocks, "window.queries")
        reached = b.add("Add", "window.reached", [queries, whole(2 * reach)])
        keys = b.add("Min", "window.keys", [self._length, reached])

        first = b.add("Mul", "window.first", [self._column(self._count(blocks, "window.block")), queries])
        within = b.add("Add", "window.query.all", [first, self._count(queries, "window.query.offset")])
        last = b.add("Sub", "window.last", [self._length, whole(1)])
        # subtle: the last block may have a few queries too many; they repeat the last token and are cut off at the end.
        self._queries = b.add("Min", "window.query", [within, last])
        before = b.add("Sub", "window.before", [first, whole(reach)])
        latest = b.add("Sub", "window.latest", [self._length, keys])
        start = b.add("Max", "window.start", [b.add("Min", "window.start.latest", [before, latest]), whole(0)])
        self._keys = b.add("Add", "window.key", [start, self._count(keys, "window.key.offset")])
        self._band = self._mask(reach)

    def attend(self, name: str, query: str, key: str, value: str) -> str:
        """Mix values: query, key and value `[batch, n, heads * size]` to the same, the node's name `name`."""
        b = self._builder
        scores = b.contrib(
            "FusedMatMul",
            f"{name}.scores",
            [self._blocks(query, self._queries), self._blocks(key, self._keys)],
            transB=1,
            alpha=self._size**-0.5,
        )
        scores = b.add("Add", f"{name}.scores.near", [scores, self._band])
        weights = b.add("Softmax", f"{name}.weights", [scores], axis=-1)
        mixed = b.add("MatMul", f"{name}.blocks", [weights, self._blocks(value, self._keys)])
        joined = b.add("Reshape", f"{name}.joined", [mixed, b.integers(0, self._heads, -1, self._size)])
        used = b.add("Slice", f"{name}.used", [joined, b.integers(0), self._length, b.integers(2)])
        rows = b.add("Transpose", f"{name}.rows", [used], perm=[0, 2, 1, 3])
        return b.add("Reshape", name, [rows, b.integers(0, 0, -1)])

    def _blocks(self, states: str, positions: str) -> str:
        """States `[batch, n, heads * size]` to `[batch, heads, blocks, positions, size]`."""
        b = self._builder
        split = b.add("Reshape", f"{states}.split", [states, b.integers(0, 0, self._heads, self._size)])
        heads = b.add("Transpose", f"{states}.heads", [split], perm=[0, 2, 1, 3])
        return b.add("Gather", f"{states}.blocks", [heads, positions], axis=2)

    def _mask(self, reach: int) -> str:
        """0 where a key `[blocks, 1, keys]` is in reach of a query `[blocks, queries, 1]`, else what hides it."""
        b = self._builder
        query = b.add("Unsqueeze", "window.query.column", [self._queries, b.integers(2)])
        key = b.add("Unsqueeze", "window.key.row", [self._keys, b.integers(1)])
        distance = b.add("Abs", "window.distance", [b.add("Sub", "window.difference", [query, key])])
        near = b.add("LessOrEqual", "window.near", [distance, b.integers(reach)])
        choices = [b.constant(f"window.{name}", np.array(v, np.float32)) for name, v in (("in", 0), ("out", _BEYOND))]
        return b.add("Where", "window.band", [near, *choices])

    def _divided_up(self, number: str, by: str, name: str) -> str:
        """`number / by`, rounded up."""
        b = self._builder
        more = b.add("Sub", f"{name}.more", [b.add("Add", f"{name}.sum", [number, by]), b.integers(1)])
        return b.add("Div", name, [more, by])

    def _count(self, number: str, name: str) -> str:
        """0, 1, ... up to `number`, which is an int64 vector of one."""
        b = self._builder
        zero, one = (b.constant(f"int64:scalar:{value}", np.array(value, np.int64)) for value in (0, 1))
        end = b.add("Squeeze", f"{name}.end", [number, b.integers(0)])
        return b.add("Range", name, [zero, end, one])

    def _column(self, vector: str) -> str:
        return self._builder.add("Unsqueeze", f"{vector}.column", [vector, self._builder.integers(1)])
