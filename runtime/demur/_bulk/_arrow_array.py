"""Arrow arrays of plain values, without pandas.

`pyarrow.array` asks of whatever it gets whether it is pandas', and for that imports pandas where it is installed: 45 MB
and half a second.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from demur._extras import need

_NUMBERS = {"double": np.float64, "int64": np.int64}


def array(values: Sequence[Any], kind: Any) -> Any:
    """Return an Arrow array.

    Args:
        values: The values; None where there is none.
        kind: Their type, as `pyarrow.int64()`. What is neither a flag, a float64, an int64 nor a text is left to
            `pyarrow.array`.
    """
    pa, name, rows = need("pyarrow", "data", "an Arrow array"), str(kind), len(values)
    missing = np.fromiter((value is None for value in values), bool, rows)
    validity = pa.py_buffer(_bits(~missing)) if missing.any() else None
    if name == "bool":
        data: list[Any] = [_bits(np.fromiter((value is True for value in values), bool, rows))]
    elif name in _NUMBERS:
        data = [np.fromiter((0 if value is None else value for value in values), _NUMBERS[name], rows)]
    elif name == "string":
        # subtle: an error may quote a lone surrogate, which UTF-8 has no bytes for.
        texts = [b"" if value is None else value.encode("utf-8", "backslashreplace") for value in values]
        ends = np.zeros(rows + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        data = [ends, b"".join(texts)]
    else:
        return pa.array(values, kind)
    buffers = [validity, *map(pa.py_buffer, data)]
    return pa.Array.from_buffers(kind, rows, buffers, int(missing.sum()))


def _bits(flags: "np.ndarray[Any, np.dtype[np.bool_]]") -> "np.ndarray[Any, np.dtype[np.uint8]]":
    return np.packbits(flags, bitorder="little")
