"""Scored files, row by row, in bounded memory."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from demur._extras import need
from demur._tables._frames import plain
from demur.errors import DataError

_STDIN = "-"
_BATCH = 256
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ARROW = (".arrow", ".feather")


def read(name: str, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of a scored file and where it stands, such as `scored.jsonl, line 3`.

    Args:
        name: A file that ends in `.parquet`, `.arrow`, `.feather`, `.csv` or `.tsv`; anything else is JSONL, and `-`
            is JSONL from standard input. Text files may be packed with gzip (`.gz`).
        wanted: The columns that matter; Parquet and Arrow files are read for no others.

    Raises:
        DataError: It can't be read, or a line is not a JSON object.
        DataExtraError: pyarrow is needed and not installed.
    """
    path = Path(name)
    ending = next((part for part in reversed(path.suffixes) if part != ".gz"), "").lower()
    if name != _STDIN and not path.is_file():
        raise DataError(f"{name}: there is no such file")
    if ending == ".parquet":
        yield from _parquet(name, wanted)
    elif ending in _ARROW:
        yield from _arrow(name, wanted)
    elif ending in _DELIMITERS:
        yield from _delimited(name, _DELIMITERS[ending])
    else:
        yield from _jsonl(name)


@contextmanager
def _text(name: str) -> Iterator[IO[bytes]]:
    try:
        if name == _STDIN:
            yield sys.stdin.buffer
        else:
            opener = gzip.open if name.endswith(".gz") else open
            with opener(name, "rb") as stream:
                yield stream  # type: ignore[misc]
    except (OSError, EOFError) as error:
        raise DataError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _jsonl(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    where = "standard input" if name == _STDIN else name
    with _text(name) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            place = f"{where}, line {number}"
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                raise DataError(f"{place}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{place}: a line is a JSON object, this one is a {type(row).__name__}")
            yield place, row


def _delimited(name: str, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    before = csv.field_size_limit(sys.maxsize >> 1)
    try:
        with _text(name) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
            for number, row in enumerate(csv.DictReader(text, delimiter=delimiter), 1):
                yield f"{name}, row {number}", {key: value for key, value in row.items() if isinstance(key, str)}
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not readable as CSV: {error}") from error
    finally:
        csv.field_size_limit(before)


def _parquet(name: str, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    parquet = need("pyarrow.parquet", "data", "a Parquet file")
    with _arrow_faults(name), parquet.ParquetFile(name) as file:
        columns = [column for column in file.schema_arrow.names if column in wanted]
        yield from _batches(name, file.iter_batches(_BATCH, columns=columns))


def _arrow(name: str, wanted: Collection[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    pyarrow, ipc = need("pyarrow", "data", "an Arrow file"), need("pyarrow.ipc", "data", "an Arrow file")
    with _arrow_faults(name), pyarrow.memory_map(name) as source:
        stream = source.read(6) != b"ARROW1"
        source.seek(0)
        file = ipc.open_stream(source) if stream else ipc.open_file(source)
        batches = file if stream else (file.get_batch(i) for i in range(file.num_record_batches))
        columns = [column for column in file.schema.names if column in wanted]
        pieces = (batch.slice(at, _BATCH) for batch in batches for at in range(0, batch.num_rows, _BATCH))
        yield from _batches(name, (piece.select(columns) for piece in pieces))


def _batches(name: str, batches: Iterator[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    for batch in batches:
        for row in plain(batch):
            number += 1
            yield f"{name}, row {number}", row


@contextmanager
def _arrow_faults(name: str) -> Iterator[None]:
    pyarrow = need("pyarrow", "data", "a columnar file")
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{name}: {error}") from error
