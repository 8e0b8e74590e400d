"""The options of the commands that read and write files of conversations: `demur score` and `demur filter`.

What they do is imported when it is asked for, so that `demur check` starts as fast as it can.
"""

import argparse
from typing import Any

from demur._bulk import _formats


def add_parsers(commands: Any, model: argparse.ArgumentParser) -> None:
    """Add the commands.

    Args:
        commands: Takes them, as `ArgumentParser.add_subparsers` returned it.
        model: The options of a model, which they have too.
    """
    common = _common()
    score = commands.add_parser("score", parents=[model, common], help="judge every row of files")
    score.add_argument("-o", "--output", default="-", metavar="OUT|-", help="where to write (default: standard output)")
    score.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="what does the work (default: %(default)s)"
    )
    score.add_argument(
        "--address", metavar="ADDRESS", help="of the Ray cluster (default: RAY_ADDRESS, or one started here)"
    )
    score.set_defaults(run=_score, drop=None, rejected=None)

    sift = commands.add_parser("filter", parents=[model, common], help="keep the rows that are no refusals")
    sift.add_argument("-o", "--output", required=True, metavar="KEPT|-", help="where to write what is kept")
    sift.add_argument("--rejected", metavar="FILE", help="where to write what is taken out, with its scores")
    sift.add_argument(
        "--drop", choices=["refusals", "answers"], default="refusals", help="what to take out (default: %(default)s)"
    )
    sift.add_argument(
        "--operating-point", dest="threshold", metavar="NAME", help="a threshold by its name, as high-precision"
    )
    sift.set_defaults(run=_filter)


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    formats = ", ".join(_formats.FORMATS)
    common.add_argument(
        "input", nargs="+", metavar="INPUT|-", help=f"files, folders or globs ({formats}; .gz and .zst too)"
    )
    common.add_argument("--input-format", metavar="FORMAT", help="what the inputs are, such as csv or jsonl.gz")
    common.add_argument("--output-format", metavar="FORMAT", help="what to write (default: by its ending, or as read)")
    for part, holds in (
        ("prompt", "what the user asked"),
        ("response", "what the assistant replied"),
        ("messages", "the list of messages"),
        ("text", "the conversation in the model's template"),
        ("system", "the system prompt"),
        ("id", "what tells one row from another"),
    ):
        common.add_argument(f"--{part}-column", metavar="NAME", help=f"column or JSON path of {holds}")
    common.add_argument("--workers", type=positive, metavar="N", help="texts at a time (default: the cores granted)")
    common.add_argument("--turns", choices=["last", "all"], default="last", help="which replies (default: %(default)s)")
    common.add_argument("--errors", metavar="FILE", help="set rows that can't be scored aside, as JSONL")
    common.add_argument("--max-errors", type=_number, metavar="N", help="end when more rows can't be scored")
    common.add_argument("--max-row-bytes", type=positive, metavar="N", help="don't score longer rows")
    common.add_argument("--resume", action="store_true", help="go on with a run that was not finished")
    common.add_argument("--restart", action="store_true", help="throw away what such a run left")
    common.add_argument("--progress", choices=["bar", "json", "none"], default="bar", help="how to show how far it is")
    return common


def positive(text: str) -> int:
    """Read a whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is not at least 0")
    return number


def _score(options: argparse.Namespace) -> int:
    from demur._bulk import _command

    return _command.score(options)


def _filter(options: argparse.Namespace) -> int:
    from demur._bulk import _command

    return _command.sift(options)
