"""`demur-export`: a checkpoint to a bundle."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demur.errors import DemurError, MissingExtraError

_PIP = "pip install 'demur[export]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `demur-export` and return its exit status: 0 done, 1 the checkpoint or bundle is at fault, 2 usage."""
    options = _parser().parse_args(arguments)
    try:
        return _export(options)
    except MissingExtraError as error:
        print(f"demur-export: {error}", file=sys.stderr)
        return 2
    except (DemurError, OSError) as error:
        print(f"demur-export: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demur-export", description="Turn a PyTorch refusal classifier into a bundle that demur runs."
    )
    parser.add_argument("source", type=Path, help="folder of the checkpoint, as save_pretrained writes it")
    parser.add_argument("--out", type=Path, required=True, help="folder for the bundle")
    parser.add_argument(
        "--recipe", choices=["int8-row", "int8", "fp32"], default="int8-row", help="quantisation (default: %(default)s)"
    )
    parser.add_argument(
        "--template", help="agentlans, response-only or a JSON file (default: recognised by the tokenizer's role tags)"
    )
    parser.add_argument("--texts", type=Path, help="JSONL to calibrate on and compare with (default: demur's own)")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="JSONL of conversations; entries of the vocabulary that they don't use are left out, but for characters",
    )
    parser.add_argument("--name", help="the bundle's name (default: that of the --out folder)")
    parser.add_argument("--model-version", default="1", help="the bundle's version (default: %(default)s)")
    parser.add_argument("--repository", help="where the checkpoint was published")
    parser.add_argument("--revision", help="commit of the checkpoint's repository")
    parser.add_argument("--licence", default="unknown", help="SPDX name of the weights' licence")
    parser.add_argument("--languages", default="", help="codes of the languages it was trained on, by commas")
    parser.add_argument("--notes", type=Path, help="Markdown about the model, for the card")
    return parser


def _export(options: argparse.Namespace) -> int:
    try:
        from demur_export.pipeline import Options, export
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; {_PIP}") from error
    found = export(
        Options(
            source=options.source,
            out=options.out,
            recipe=options.recipe,
            template=options.template,
            texts=options.texts,
            vocabulary=options.vocabulary,
            name=options.name,
            repository=options.repository,
            revision=options.revision,
            licence=options.licence,
            languages=tuple(code.strip() for code in options.languages.split(",") if code.strip()),
            model_version=options.model_version,
            notes=options.notes.read_text(encoding="utf-8") if options.notes else "",
        ),
        say=lambda line: print(line, file=sys.stderr),
    )
    print(
        f"{options.out}: {found.label_flips} label flips on {found.texts} texts, "
        f"max |dp| {found.max_dp:.4f}, mean |dp| {found.mean_dp:.5f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
