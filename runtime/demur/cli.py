"""`demur`: check one conversation, score many, list models, look at the machine."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import demur
from demur import _bundle, _cli_bulk
from demur._load import load, threshold_of
from demur._package import options as package
from demur._report import _parser as _report
from demur.errors import BundleError, DemurError, InputError

if TYPE_CHECKING:
    from demur._catalogue import Entry
    from demur._verdict import Verdict

_REFUSED, _ANSWERED = 1, 0
_FAULT, _INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `demur` and return its exit status.

    0 done; 1 a refusal (`check --exit-code`), rows that could not be scored (`score`, `filter`) or a damaged bundle
    (`doctor`, `models`); 2 wrong usage, or an input, output, model or device that can't be used; 3 an input that could
    be read only in part or not at all, beside others (`score`, `filter`); 130 interrupted, 143 terminated.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has gone (as `head` does); nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAULT
    except KeyboardInterrupt:
        print("demur: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except (DemurError, OSError, ValueError) as error:
        print(f"demur: {error}", file=sys.stderr)
        return _FAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demur", description="Tell a refusal from an answer.")
    parser.add_argument("--version", action="version", version=f"demur {demur.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", metavar="NAME|FOLDER", help="a bundle (default: the one that comes with demur)")
    model.add_argument("--threshold", type=threshold_of, metavar="T", help="score from which a reply is a refusal")
    model.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to run (default: %(default)s)")

    check = commands.add_parser("check", parents=[model], help="judge one conversation")
    check.add_argument("text", nargs="?", metavar="TEXT|-", help="the assistant's reply; - reads standard input")
    check.add_argument("--prompt", help="what the user asked")
    check.add_argument("--system", help="the system prompt")
    check.add_argument("--chat", metavar="FILE|-", help="a JSON file with the messages, in place of TEXT")
    check.add_argument("--rendered", action="store_true", help="TEXT is already in the model's own template")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument("--exit-code", action="store_true", help="exit with 1 for a refusal")
    check.set_defaults(run=_check)

    _cli_bulk.add_parsers(commands, model)
    _report.register(commands)

    models = commands.add_parser("models", help="list the models that can be loaded by name, or made to be")
    models.add_argument("--json", action="store_true", help="print one JSON list")
    models.set_defaults(run=_models)

    doctor = commands.add_parser("doctor", help="show versions, cores and instruction sets, and check the bundles")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.set_defaults(run=_doctor)
    package.register(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    if (options.text is None) == (options.chat is None):
        raise InputError("give either TEXT or --chat FILE")
    chat = options.chat is not None
    if options.rendered and (chat or options.prompt or options.system):
        raise InputError("--rendered text holds the whole conversation; leave out --chat, --prompt and --system")
    if chat and (options.prompt or options.system):
        raise InputError("--chat holds the whole conversation; leave out --prompt and --system")
    text = _read(options.chat if chat else "-") if chat or options.text == "-" else options.text
    model = load(options.model, device=options.device, threshold=options.threshold)
    if chat:
        verdict = model.check_chat(_messages(options.chat, text))
    elif options.rendered:
        verdict = model.check_text(text)
    else:
        verdict = model.check(text, prompt=options.prompt, system=options.system)
    print(json.dumps(verdict.to_dict()) if options.json else _line(verdict))
    return _REFUSED if options.exit_code and verdict.refusal else _ANSWERED


def _line(verdict: "Verdict") -> str:
    word = "refusal" if verdict.refusal else "no refusal"
    elided = f", {verdict.elided} elided" if verdict.elided else ""
    facts = f"{verdict.model}, threshold {verdict.threshold:g}, {verdict.tokens} tokens{elided}"
    return f"{word}  {verdict.score:.3f}  ({facts})"


def _read(name: str) -> str:
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = "standard input" if name == "-" else name
        raise InputError(f"{where}: not UTF-8: byte {data[error.start]:#04x} at position {error.start}") from error


def _messages(name: str, text: str) -> Any:
    where = "standard input" if name == "-" else name
    try:
        chat = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from error
    return chat["messages"] if isinstance(chat, dict) and "messages" in chat else chat


def _models(options: argparse.Namespace) -> int:
    from demur import _catalogue

    rows = []
    status = 0
    folders = _bundle.available()
    for folder in folders.values():
        try:
            rows.append(_facts(_bundle.read(folder)))
        except BundleError as error:
            print(f"demur: {error}", file=sys.stderr)
            status = 1
    rows += [_prospect(entry) for name, entry in _catalogue.entries().items() if name not in folders]
    if options.json:
        print(json.dumps(rows))
    for row in rows if not options.json else ():
        made = f"{row['precision']}, {row['megabytes']} MB" if row["folder"] else f"to be made: {row['command']}"
        print(f"{row['name']}  {row['max_tokens']} tokens, {made}, {row['licence']}\n  from {row['source']}")
        print(f"  languages: {' '.join(row['languages']) or 'not stated'}")
    return status


def _facts(bundle: _bundle.Bundle) -> dict[str, Any]:
    return {
        "name": bundle.folder.name,
        "source": bundle.source["repository"],
        "languages": list(bundle.languages),
        "max_tokens": bundle.max_tokens,
        "precision": bundle.recipe,
        "megabytes": round(bundle.size / 1e6, 1),
        "licence": bundle.licence,
        "folder": str(bundle.folder),
        "command": None,
    }


def _prospect(entry: "Entry") -> dict[str, Any]:
    """A model of the catalogue that has no bundle here yet, in the same terms."""
    return {
        "name": entry.name,
        "source": entry.repository,
        "languages": list(entry.languages),
        "max_tokens": entry.max_tokens,
        "precision": None,
        "megabytes": None,
        "licence": entry.licence,
        "folder": None,
        "command": entry.command,
    }


def _doctor(options: argparse.Namespace) -> int:
    from demur._doctor import examine, lines

    report = examine()
    print(json.dumps(report) if options.json else "\n".join(lines(report)))
    return 0 if all(bundle["intact"] for bundle in report["bundles"]) else 1
