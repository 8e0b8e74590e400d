"""The kinds of tables that callers have, behind one face: columns out as plain values, columns in."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from demur._bulk._verdict_columns import is_ours
from demur._extras import need
from demur._tables._scored import ELIDED, ERROR, NAMES, REFUSAL, SCORE, TOKENS, Scored
from demur.errors import DataError


class Frame(Protocol):
    """A table of some kind."""

    @property
    def names(self) -> list[str]:
        """The names of its columns."""

    @property
    def rows(self) -> int:
        """How many rows it has."""

    def cells(self, name: str, start: int, stop: int) -> list[Any]:
        """Return the plain Python values of one column from row `start` up to `stop`, None for missing ones."""

    def with_scored(self, scored: Scored) -> Any:
        """Return the caller's kind of table with the verdict's columns; older ones of their names make way."""


def frame(table: Any) -> Frame:
    """Return the face of a pandas or polars frame, or of anything that Arrow's C interface gives.

    Raises:
        DataError: It is no such table.
        DataExtraError: It takes pyarrow to read it, which is not installed.
    """
    kind = type(table)
    package = kind.__module__.split(".")[0]
    if package == "pandas" and kind.__name__ == "DataFrame":
        return _Pandas(table)
    if package == "polars" and kind.__name__ == "DataFrame":
        return _Polars(table)
    if hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__"):
        return _Arrow(table)
    hint = "; collect() it first" if package == "polars" else ""
    raise DataError(f"a table is a pandas or polars frame or speaks Arrow's C interface, not {kind.__name__}{hint}")


def plain(values: Any) -> list[Any]:
    """Return the values of a batch's column as a list of plain Python values."""
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, method):
            return [_plain(value) for value in getattr(values, method)()]
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    """A cell as JSON would have it: no arrays, and None for what pandas and numpy put where a value is missing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if type(value).__name__ in ("NAType", "NaTType") else value


class _Pandas:
    """A pandas frame; nothing but pandas is needed."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.names = [name for name in table.columns if isinstance(name, str)]
        self.rows = len(table)

    def cells(self, name: str, start: int, stop: int) -> list[Any]:
        return plain(self._table[name].iloc[start:stop])

    def with_scored(self, scored: Scored) -> Any:
        pandas = need("pandas", "data", "a pandas frame")
        failed = scored.failed
        # subtle: pandas' own types for numbers and flags with gaps; its plain ones would become float and object.
        made = {
            SCORE: scored.score,
            REFUSAL: pandas.arrays.BooleanArray(scored.refusal, failed),
            TOKENS: pandas.arrays.IntegerArray(scored.tokens, failed.copy()),
            ELIDED: pandas.arrays.IntegerArray(scored.elided, failed.copy()),
            ERROR: pandas.array(scored.error, dtype="string"),
        }
        kept = self._table.drop(columns=list(filter(is_ours, self.names)))
        return kept.assign(**made)


class _Polars:
    """A polars frame; nothing but polars is needed."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.names, self.rows = list(table.columns), table.height

    def cells(self, name: str, start: int, stop: int) -> list[Any]:
        return plain(self._table.get_column(name).slice(start, stop - start))

    def with_scored(self, scored: Scored) -> Any:
        polars = need("polars", "data", "a polars frame")
        kinds = (polars.Float64, polars.Boolean, polars.Int32, polars.Int32, polars.String)
        columns = zip(scored.lists().items(), kinds, strict=True)
        kept = self._table.drop(list(filter(is_ours, self.names)))
        return kept.with_columns([polars.Series(name, values, kind) for (name, values), kind in columns])


class _Arrow:
    """A pyarrow table or batch, or anything that becomes one; what comes back is pyarrow's."""

    def __init__(self, table: Any) -> None:
        pyarrow = need("pyarrow", "data", "a table of Arrow's C interface")
        self._table = table if isinstance(table, pyarrow.RecordBatch | pyarrow.Table) else _imported(pyarrow, table)
        self.names, self.rows = list(self._table.schema.names), self._table.num_rows

    def cells(self, name: str, start: int, stop: int) -> list[Any]:
        return plain(self._table.column(name).slice(start, stop - start))

    def with_scored(self, scored: Scored) -> Any:
        table = self._table.drop_columns(list(filter(is_ours, self.names)))
        for name, array in arrow_arrays(scored):
            table = table.append_column(name, array)
        return table


def arrow_arrays(scored: Scored) -> Iterator[tuple[str, Any]]:
    """Yield the verdict's columns as Arrow arrays: float64, bool, int32, int32 and string, null where there is none."""
    pyarrow, failed = need("pyarrow", "data", "an Arrow table"), scored.failed
    for name, values in zip(NAMES, (scored.score, scored.refusal, scored.tokens, scored.elided), strict=False):
        yield name, pyarrow.array(values, mask=failed)
    yield ERROR, pyarrow.array(scored.error, pyarrow.string())


def _imported(pyarrow: Any, table: Any) -> Any:
    if hasattr(table, "__arrow_c_stream__"):
        return pyarrow.RecordBatchReader.from_stream(table).read_all()
    return pyarrow.record_batch(table)
