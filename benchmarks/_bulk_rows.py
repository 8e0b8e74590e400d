"""Rows for the benchmarks of files: conversations that differ, and files of them."""

import csv
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import _texts
from _common import SEED

MOST = 4000  # characters of a reply


def read(data: Path, count: int) -> list[dict[str, str]]:
    """Return so many different conversations, drawn from the pool."""
    pool = _texts.read_pool(data).rows
    drawn = random.Random(SEED).sample(list(pool), len(pool))
    rows = {row["response"][:MOST]: {"prompt": row["prompt"], "response": row["response"][:MOST]} for row in drawn}
    return list(rows.values())[:count]


def write_lines(rows: Iterable[dict[str, str]], path: Path) -> None:
    """Write rows as JSONL."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{json.dumps(row)}\n" for row in rows)


def write_each(rows: Sequence[dict[str, str]], folder: Path) -> None:
    """Write rows in each format."""
    import pyarrow
    from pyarrow import parquet

    write_lines(rows, folder / "in.jsonl")
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["prompt", "response"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / "in.parquet", row_group_size=200)
