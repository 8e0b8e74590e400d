"""A file as one table in memory."""

from pathlib import Path
from typing import Any

from demur._extras import need
from demur._tables._columns import Columns
from demur.errors import DataError

_ENDINGS = (".parquet", ".arrow", ".feather", ".csv", ".tsv", ".jsonl", ".ndjson")
_PACKED = (".gz", ".zst")
# pyarrow's readers refuse a row that is longer than one of the blocks that they read a text file by.
_BLOCK = 1 << 26


def read(path: str | Path, columns: Columns) -> Any:
    """Return a file's rows as a pyarrow table.

    Args:
        path: Ends in `.parquet`, `.arrow`, `.feather`, `.csv`, `.tsv`, `.jsonl` or `.ndjson`; the last four may be
            packed (`.gz`, `.zst`).
        columns: Where the conversation is; these columns of a CSV file are text, whatever they look like.

    Raises:
        DataError: It can't be read, or its ending is another.
        DataExtraError: pyarrow is not installed.
    """
    path = Path(path)
    pyarrow = need("pyarrow", "data", "reading a table from a file")
    ending = next((part for part in reversed(path.suffixes) if part.lower() not in _PACKED), "").lower()
    if ending not in _ENDINGS:
        raise DataError(f"{path}: ends in {ending or 'nothing'!r}, expected one of {', '.join(_ENDINGS)}")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        if ending == ".parquet":
            return need("pyarrow.parquet", "data", "Parquet").read_table(path)
        if ending in (".arrow", ".feather"):
            return _arrow(pyarrow, path)
        if ending in (".csv", ".tsv"):
            return _csv(path, "\t" if ending == ".tsv" else ",", columns)
        json = need("pyarrow.json", "data", "JSONL")
        return json.read_json(str(path), read_options=json.ReadOptions(block_size=_BLOCK))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: {error}") from error


def _arrow(pyarrow: Any, path: Path) -> Any:
    """The file format, of which Feather is one, or else the stream format that `datasets` saves."""
    with pyarrow.OSFile(str(path)) as source:
        file = source.read(6) == b"ARROW1"
    ipc = need("pyarrow.ipc", "data", "an Arrow file")
    with pyarrow.OSFile(str(path)) as source:
        return (ipc.open_file if file else ipc.open_stream)(source).read_all()


def _csv(path: Path, delimiter: str, columns: Columns) -> Any:
    csv = need("pyarrow.csv", "data", "CSV")
    parsing = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    conversion = csv.ConvertOptions(column_types=columns.texts())
    reading = csv.ReadOptions(block_size=_BLOCK)
    return csv.read_csv(path, read_options=reading, parse_options=parsing, convert_options=conversion)
