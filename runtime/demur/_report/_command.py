"""What the command `demur report` does."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demur._extras import need
from demur._report import _items, _rows
from demur._report._examples import Examples
from demur._report._page import page
from demur._report._parser import TIMES
from demur._report._tally import Tally
from demur._tables._columns import Columns
from demur.errors import InputError

# What may hold the conversation, beside the columns that are named.
_KNOWN = ("messages", "conversations", "prompt", "response", "instruction", "input", "output", "text", "system")


def run(options: argparse.Namespace) -> int:
    """Write the report and return the exit status."""
    need("matplotlib", "report", "a report's plots")  # subtle: asked for before hours of reading, not after
    output, numbers = Path(options.output), options.json or str(Path(options.output).with_suffix(".json"))
    if numbers != "-" and Path(numbers).absolute() == output.absolute():
        raise InputError(f"{output}: the page and the numbers would be the same file; name another by --json")
    for name in options.scored:
        for target in (options.output, numbers):
            if os.path.exists(name) and os.path.exists(target) and os.path.samefile(name, target):
                raise InputError(f"{target}: is an input itself; write to another file")
    columns = Columns(options.prompt_column, options.response_column, options.messages_column, options.text_column)
    examples = Examples(max(0, options.examples), _parts(columns))
    tally = Tally(options.by, options.time, examples)
    for name in options.scored:
        for place, row in _rows.read(name, _wanted(options, columns)):
            for item in _items.items(place, row):
                tally.add(item)
    found, kept = tally.to_dict(options.scored), examples.to_dict()
    text = json.dumps({**found, "examples": {kind: [_facts(e.item) for e in kept[kind]] for kind in kept}}, indent=1)
    _write(output, page(found, kept))
    if numbers == "-":
        print(text)
    else:
        _write(Path(numbers), text + "\n")
    _say(found["overall"], found["errors"]["rows"], [options.output, *([numbers] if numbers != "-" else [])])
    return 0


def _parts(columns: Columns) -> dict[str, str]:
    return {part: name for part, name in vars(columns).items() if name is not None}


def _wanted(options: argparse.Namespace, columns: Columns) -> set[str]:
    times = [options.time] if options.time else TIMES
    named = [*options.by, *times]
    nested = [name.split(".")[0] for name in named]
    return {*_items.COLUMNS, *_KNOWN, *_parts(columns).values(), *named, *nested}


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
