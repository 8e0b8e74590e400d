"""The options of the command `demur report`; what it does is imported when it is asked for."""

import argparse
from typing import Any

# Columns that are taken for the time of a row if none is named.
TIMES = ("timestamp", "created_at", "created", "datetime", "date", "time")


def register(commands: Any) -> None:
    """Add `report` to the commands of a parser."""
    report = commands.add_parser("report", help="show what demur score wrote, as one page and as numbers")
    report.add_argument("scored", nargs="+", metavar="SCORED|-", help="what demur score wrote: files, folders or globs")
    report.add_argument("--input-format", metavar="FORMAT", help="what they are, such as csv or jsonl.gz")
    report.add_argument("-o", "--output", required=True, metavar="REPORT.html", help="where the page goes")
    report.add_argument("--json", metavar="FILE|-", help="where the numbers go (default: beside the page, as .json)")
    report.add_argument(
        "--by",
        type=_names,
        default=(),
        metavar="A,B",
        help="columns to give the rate by, or JSON paths such as meta.source",
    )
    report.add_argument(
        "--time", metavar="COLUMN", help=f"when a row is from (default: the first of {', '.join(TIMES)})"
    )
    report.add_argument(
        "--examples", type=int, default=5, metavar="N", help="replies of each kind to show (default: %(default)s)"
    )
    for part in ("prompt", "response", "messages", "text"):
        report.add_argument(
            f"--{part}-column", metavar="COLUMN", help=f"column or JSON path of the {part}, for the examples"
        )
    report.set_defaults(run=_run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _run(options: argparse.Namespace) -> int:
    from demur._report._command import run

    return run(options)
