"""Files as one table in memory, with the types that pyarrow finds in them."""

import io
from pathlib import Path
from typing import IO, Any

from demur import _jsonl
from demur._bulk import _csv, _lines, _packing
from demur._bulk._formats import COLUMNAR
from demur._bulk._inputs import Input, find
from demur._bulk._packing import Consumed
from demur._bulk._sources import delimiter_of
from demur._columns import Columns
from demur._extras import need
from demur.errors import DataError

# pyarrow's readers refuse a row that is longer than one of the blocks that they read a text file by.
_BLOCK = 1 << 26


def read(path: str | Path, columns: Columns) -> Any:
    """Return the rows of what a path stands for, as `demur score` understands it, as a pyarrow table.

    Args:
        path: A file, a folder or a glob.
        columns: Where the conversation is; these columns of a CSV file are text, whatever they look like.

    Raises:
        DataError: There is no such file, it can't be read, or the files have other columns than each other.
        DataExtraError: pyarrow is not installed.
    """
    pyarrow = need("pyarrow", "data", "reading a table from a file")
    inputs = find([str(path)])
    tables = []
    for one in inputs:
        try:
            with _packing.faults(one.name):
                tables.append(_table(one, columns))
        except DataError as error:
            if isinstance(error.__cause__, pyarrow.ArrowInvalid) and one.format.name not in COLUMNAR:
                way = "demur score gives such rows an error each and goes on"
                raise DataError(f"{one.name}: {error.__cause__}; {way}") from error
            raise
    try:
        return tables[0] if len(tables) == 1 else pyarrow.concat_tables(tables, promote_options="default")
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: its files make no one table: {error}") from error


def _table(one: Input, columns: Columns) -> Any:
    name, packing = one.format
    if one.path is None:
        raise DataError("a table is read from a file; standard input is for demur score")
    if name == "parquet":
        return need("pyarrow.parquet", "data", "Parquet").ParquetFile(one.path).read()
    if name == "arrow":
        return _arrow(one.path)
    with _packing.open_input(one.path, packing, Consumed()) as stream:
        if name in ("csv", "tsv"):
            delimiter = _csv.head(stream, one.name, delimiter_of(name)).delimiter
        elif name == "json":
            return _objects(io.BytesIO(b"\n".join(_jsonl.compact(e.text) for e in _lines.elements(stream, one.name))))
        else:
            return _objects(stream)
    with _packing.open_input(one.path, packing, Consumed()) as stream:
        return _cells(stream, delimiter, columns)


def _arrow(path: Path) -> Any:
    """The file format, of which Feather is one, or else the stream format that `datasets` saves."""
    pyarrow = need("pyarrow", "data", "an Arrow file")
    ipc = need("pyarrow.ipc", "data", "an Arrow file")
    with path.open("rb") as stream:
        file = stream.read(6) == b"ARROW1"
    with pyarrow.OSFile(str(path)) as source:
        return (ipc.open_file if file else ipc.open_stream)(source).read_all()


def _objects(stream: IO[bytes]) -> Any:
    json = need("pyarrow.json", "data", "JSONL")
    return json.read_json(stream, read_options=json.ReadOptions(block_size=_BLOCK))


def _cells(stream: IO[bytes], delimiter: str, columns: Columns) -> Any:
    csv = need("pyarrow.csv", "data", "CSV")
    return csv.read_csv(
        stream,
        read_options=csv.ReadOptions(block_size=_BLOCK),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns.reach(), "string")),
    )
