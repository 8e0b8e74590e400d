"""Files of conversations for tests, and jobs over them with a classifier without a model."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demur import Classifier
from demur._bulk import _formats, _plan
from demur._bulk._formats import Format
from demur._bulk._inputs import find
from demur._bulk._job import Job, Report, check
from demur._bulk._output import Place
from demur._bulk._perform import perform

REPLIES = ("Sure.", "I'm sorry.", "")


def rows(n: int) -> list[dict[str, Any]]:
    """Rows of which the first of three is answered, the second refused, and the third can't be scored."""
    return [{"id": i, "prompt": f"Question {i}?", "response": REPLIES[i % 3]} for i in range(n)]


def jsonl(table: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in table)


def as_csv(table: Sequence[dict[str, Any]], delimiter: str = ",", end: str = "\n") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue().encode()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def place(path: Path) -> tuple[Place, Format]:
    return Place(str(path)), _formats.by_ending(path.name) or Format("jsonl")


def job(names: Sequence[str | Path], out: Path, **options: Any) -> Job:
    """A job whose outputs' formats are what their endings say."""
    read = options.pop("input_format", None)
    inputs = find([str(name) for name in names], _formats.parse(read) if read else None)
    for key in ("rejected", "errors"):
        if key in options:
            options[key] = place(options[key])
    format = _plan.output_format(str(out), options.pop("output_format", None), inputs)
    options.setdefault("tell", lambda phrase: None)
    return Job(inputs=inputs, output=(Place(str(out)), format), progress="none", **options)


def do(model: Classifier, names: Path | Sequence[str | Path], out: Path, **options: Any) -> Report:
    """Score or filter files; the keywords are those of `Job`, with paths for outputs."""
    facts = options.pop("facts", {"model": "fake"})
    made = job([names] if isinstance(names, Path) else names, out, **options)
    check(made)
    return perform(model, made, facts)
