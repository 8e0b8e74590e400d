"""Which sink fits the rows that come and the format that is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from demur._bulk import _csv, _formats, _packing, _tables
from demur._bulk._formats import Format
from demur._bulk._inputs import Input
from demur._bulk._packing import Consumed
from demur._bulk._sources import column_names, delimiter_of
from demur._bulk._text_sinks import Csv, JsonArray, JsonLines, Sink
from demur._columns import Columns
from demur.errors import DataError


def output_format(name: str, asked: str | None, inputs: Sequence[Input]) -> Format:
    """Return the format of an output: the one asked for, what its ending says, or the first input's.

    Args:
        name: The output's path, or `-`.
        asked: A format's name, if one was given.
        inputs: What is read.

    Raises:
        DataError: There is no such format, or it can't be written there.
    """
    found = _formats.parse(asked) if asked else _formats.by_ending(name)
    if found is None:
        found = Format(inputs[0].format.name, "") if inputs else Format("jsonl")
    if name == "-" and found.name in _formats.COLUMNAR:
        raise DataError(f"{found} can't go to standard output; give a file by -o, or --output-format jsonl")
    return found


def sink(stream: IO[bytes], format: Format, inputs: Sequence[Input], columns: Columns, every: bool | None) -> Sink:
    """Return what writes rows of these inputs in this format.

    Args:
        stream: Gets the bytes.
        format: What they are to be.
        inputs: Where the rows come from; where they and the output are tables, they must have the same columns.
        columns: Where the conversations are.
        every: Whether the outcomes written are those of all replies of a row; None if none are written.

    Raises:
        DataError: The inputs don't go together, or a package is missing.
    """
    if format.name == "jsonl":
        return JsonLines(stream, len(inputs) > 1)
    if format.name == "json":
        return JsonArray(stream, len(inputs) > 1)
    names = _names(inputs)
    if format.name in ("csv", "tsv"):
        head = _head(inputs[0], names)
        delimiter = delimiter_of(format.name) or (head.delimiter if head and head.delimiter != "\t" else ",")
        return Csv(stream, head, delimiter, every)
    # Not before it is needed: pyarrow takes longer to import than everything else.
    from demur._bulk import _arrow_sink

    schema, codec = _schema(inputs), None
    if schema is None and names is not None:
        schema = _arrow_sink.text_schema(names)
    if inputs[0].format.name == "parquet" == format.name and inputs[0].path is not None:
        with _packing.faults(inputs[0].name):
            codec = _arrow_sink.codec(inputs[0].path)
    texts = columns.wanted(names) if names is not None else []
    return _arrow_sink.Table(stream, format.name, schema, every, codec, texts)


def _names(inputs: Sequence[Input]) -> list[str] | None:
    """Return the columns that all inputs have; None if they are no tables."""
    first: tuple[str, list[str]] | None = None
    for one in inputs:
        try:
            names = column_names(one)
        except DataError:  # it is told when its turn has come to be read
            continue
        if names is None:
            continue
        first = first or (one.name, names)
        if names != first[1]:
            raise DataError(
                f"{one.name}: its columns ({', '.join(names)}) are not those of {first[0]} ({', '.join(first[1])}); "
                "write JSONL, or each to a file of its own"
            )
    return first and first[1]


def _head(first: Input, names: Sequence[str] | None) -> _csv.Head | None:
    if first.path is not None and first.format.name in ("csv", "tsv"):
        with _packing.faults(first.name), _packing.open_input(first.path, first.format.packing, Consumed()) as stream:
            return _csv.head(stream, first.name, delimiter_of(first.format.name))
    return _csv.Head(tuple(names), ",") if names else None


def _schema(inputs: Sequence[Input]) -> Any:
    """Return the schema that all inputs have; None if they are no tables of pyarrow's."""
    columnar = [one for one in inputs if one.format.name in _formats.COLUMNAR]
    if columnar and len(columnar) < len(inputs):
        others = next(one for one in inputs if one not in columnar)
        raise DataError(f"{others.name} is {others.format} and {columnar[0].name} {columnar[0].format}; write JSONL")
    first: Any = None
    for one in columnar:
        try:
            with _packing.faults(one.name):
                schema = _tables.schema(one.path or Path(), one.format.name)
        except DataError:
            continue
        if first is None:
            first = schema
        elif not schema.equals(first):
            field = next(field for field in schema if not field.equals(first.field(field.name)))
            raise DataError(
                f"{one.name}: its column {field.name!r} is {field.type}, in {columnar[0].name} it is "
                f"{first.field(field.name).type}; write JSONL, or each to a file of its own"
            )
    return first
