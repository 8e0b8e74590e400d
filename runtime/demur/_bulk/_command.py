"""What `demur score` and `demur filter` do with their options, and what they say at the end."""

import argparse
import signal
import sys
from dataclasses import fields
from typing import Any

from demur import _bundle, _machine
from demur._bulk import _formats, _plan, _tables
from demur._bulk._formats import Format
from demur._bulk._inputs import Input, find
from demur._bulk._job import Job, Report, check
from demur._bulk._output import Place
from demur._bulk._perform import perform
from demur._columns import Columns
from demur._load import load_bundle
from demur._shapes import UNKNOWN
from demur.errors import DataError, InputError

# A fault, which ends with 2, is an error that `demur.cli` reports.
DONE, BAD_ROWS, UNREADABLE = 0, 1, 3
# A shell's status of a command that a signal ended.
_SIGNALLED = 128
_NAMING = "; other names are given by --response-column, --prompt-column and so on"
# Options that Ray's engine has not.
_LOCAL_ONLY = (
    "errors",
    "id_column",
    "input_format",
    "max_errors",
    "max_row_bytes",
    "output_format",
    "restart",
    "resume",
)


def score(options: argparse.Namespace) -> int:
    """Do what `demur score` was asked for; return its exit status."""
    if options.engine == "ray":
        return _with_ray(options)
    if options.address is not None:
        raise InputError("--address is that of a Ray cluster; it needs --engine ray")
    return _status(options, _run(options))


def _with_ray(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in _LOCAL_ONLY}
    if refused := [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)]:
        raise InputError(f"{', '.join(refused)}: not with --engine ray")
    if options.turns != "last" or options.device != "cpu":
        raise InputError("--engine ray judges last replies, on CPUs")
    if options.output == "-":
        raise InputError("--engine ray writes a folder; name it with -o")
    # subtle: Ray is looked for only now, and its absence is an error that names the extra.
    from demur.ray import score_with_ray

    named: dict[str, Any] = _columns(options).named
    counts = score_with_ray(
        options.input,
        options.output,
        model=options.model,
        threshold=options.threshold,
        address=options.address,
        actors=options.workers,
        **named,
    )
    if counts.failed:
        tell(f"{counts.failed} of {counts.rows} rows could not be scored")
    return BAD_ROWS if counts.failed else DONE


def sift(options: argparse.Namespace) -> int:
    """Do what `demur filter` was asked for; return its exit status."""
    report = _run(options)
    tally = report.tally
    if report.signal is None:
        aside = tally.lines - tally.kept - tally.dropped
        where = options.rejected or "nowhere; --rejected FILE keeps them"
        print(
            f"demur: {tally.kept} rows kept, {tally.dropped} {options.drop} taken out (to {where})"
            + (f", {aside} set aside in {options.errors}" if aside else ""),
            file=sys.stderr,
        )
    return _status(options, report)


def _run(options: argparse.Namespace) -> Report:
    if options.resume and options.restart:
        raise InputError("give either --resume or --restart")
    inputs = find(options.input, _formats.parse(options.input_format) if options.input_format else None)
    job = Job(
        inputs=inputs,
        output=_output(options.output, options.output_format, inputs),
        rejected=_output(options.rejected, None, inputs) if options.rejected else None,
        errors=_errors(options.errors) if options.errors else None,
        drop=options.drop,
        every=options.turns == "all",
        columns=_columns(options),
        workers=_machine.granted(options.workers),
        max_row_bytes=options.max_row_bytes,
        max_errors=options.max_errors,
        resume=options.resume,
        restart=options.restart,
        progress=options.progress,
        tell=tell,
    )
    check(job)
    if any(
        format.name in _formats.COLUMNAR for format in (*(one.format for one in inputs), *(f for _, f in job.places))
    ):
        _tables.spare_memory()
    bundle = _bundle.read(_bundle.find(options.model))
    model = load_bundle(bundle, device=options.device, threshold=options.threshold, threads=1)
    facts = {
        "model": {"name": bundle.name, "sha256": bundle.model.sha256, "tokenizer": bundle.tokenizer.sha256},
        "threshold": model.threshold,
        "device": options.device,
    }
    return perform(model, job, facts)


def _columns(options: argparse.Namespace) -> Columns:
    return Columns(**{part.name: getattr(options, f"{part.name}_column") for part in fields(Columns)})


def tell(phrase: str) -> None:
    """Say something to the user, out of the output's way."""
    print(f"demur: {phrase}", file=sys.stderr)


def _output(name: str, asked: str | None, inputs: list[Input]) -> tuple[Place, Format]:
    return Place(name), _plan.output_format(name, asked, inputs)


def _errors(name: str) -> tuple[Place, Format]:
    found = _formats.by_ending(name) or Format("jsonl")
    if found.name != "jsonl":
        raise DataError(f"{name}: errors are written as JSONL, not {found}; let the name end in .jsonl")
    return Place(name), found


def _see(options: argparse.Namespace, report: Report) -> str:
    if options.errors:
        return f"see {options.errors}"
    if options.drop is not None:
        return "they are kept; --errors FILE sets them aside"
    return "see their demur.error" if report.nested else "see their demur_error"


def _status(options: argparse.Namespace, report: Report) -> int:
    tally = report.tally
    if report.signal is not None:
        name = signal.Signals(report.signal).name
        tell(f"ended by {name}; {tally.lines} rows are done; the same command with --resume goes on")
        return _SIGNALLED + report.signal
    if tally.failed:
        tell(f"{tally.failed} of {tally.lines} {report.rows} could not be scored; {_see(options, report)}")
        if tally.failed == tally.lines:
            tell(f"none could; the first: {tally.reason}{_NAMING if (tally.reason or '').startswith(UNKNOWN) else ''}")
    if report.failures:
        return UNREADABLE
    return BAD_ROWS if tally.failed else DONE
