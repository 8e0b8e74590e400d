"""What the command `demur report` does."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demur._bulk import _formats
from demur._bulk._inputs import Input, find
from demur._columns import Columns
from demur._extras import need
from demur._paths import top
from demur._report import _items, _rows
from demur._report._examples import Examples
from demur._report._page import page
from demur._report._tally import Tally
from demur.errors import InputError


def run(options: argparse.Namespace) -> int:
    """Write the report and return the exit status."""
    need("matplotlib", "report", "a report's plots")  # subtle: asked for before hours of reading, not after
    output, numbers = Path(options.output), options.json or str(Path(options.output).with_suffix(".json"))
    if numbers != "-" and Path(numbers).absolute() == output.absolute():
        raise InputError(f"{output}: the page and the numbers would be the same file; name another by --json")
    inputs = find(options.scored, _formats.parse(options.input_format) if options.input_format else None)
    for target in (options.output, numbers):
        if any(_same(one, target) for one in inputs):
            raise InputError(f"{target}: is an input itself; write to another file")
    columns = Columns(options.prompt_column, options.response_column, options.messages_column, options.text_column)
    examples = Examples(max(0, options.examples), columns)
    tally = Tally(options.by, options.time, examples)
    count(inputs, columns, tally)
    found, kept = tally.to_dict(options.scored), examples.to_dict()
    text = json.dumps({**found, "examples": {kind: [_facts(e.item) for e in kept[kind]] for kind in kept}}, indent=1)
    _write(output, page(found, kept))
    if numbers == "-":
        print(text)
    else:
        _write(Path(numbers), text + "\n")
    _say(found["overall"], found["errors"]["rows"], [options.output, *([numbers] if numbers != "-" else [])])
    return 0


def count(inputs: Sequence[Input], columns: Columns, tally: Tally) -> None:
    """Count what scored files say.

    Args:
        inputs: The files.
        columns: Where their conversations are.
        tally: Counts it.

    Raises:
        DataError: A file can't be read, or was not scored.
    """
    named = [*tally.columns, *(str(top(name)) for name in tally.columns)]
    for place, row in _rows.read(inputs, {*_items.COLUMNS, *columns.reach(), *named}):
        for item in _items.items(place, row):
            tally.add(item)


def _same(one: Input, target: str) -> bool:
    return one.path is not None and os.path.exists(target) and os.path.samefile(one.path, target)


def _facts(item: _items.Item) -> dict[str, Any]:
    return {"place": item.place, "turn": item.turn, "score": item.score, "refusal": item.refusal, "tokens": item.tokens}


def _write(path: Path, text: str) -> None:
    """Write a file that is whole or not there at all."""
    unfinished = path.with_name(path.name + ".demur-partial")
    try:
        unfinished.write_text(text, encoding="utf-8", errors="replace")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _say(overall: dict[str, Any], failed: int, written: Sequence[str]) -> None:
    rate = f", {100 * overall['rate']:.1f} % refusals" if overall["replies"] else ""
    errors = f", {failed:,} rows not scored" if failed else ""
    print(f"demur: {overall['replies']:,} replies{rate}{errors}; see {' and '.join(written)}", file=sys.stderr)
