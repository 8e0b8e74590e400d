"""`demur-export`: a checkpoint to a bundle."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demur import _catalogue, _home
from demur.errors import DemurError, MissingExtraError

if TYPE_CHECKING:
    from demur_export.options import Options
    from demur_export.source import Source


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `demur-export` and return its exit status.

    0 is done, 1 that the checkpoint or the bundle is at fault or an example is missed, 2 wrong usage.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return _export(parser, options)
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
    parser.add_argument(
        "source",
        metavar="NAME|HUB_ID|FOLDER",
        help=f"a model of the catalogue ({', '.join(_catalogue.entries())}), a repository of the Hugging Face Hub, "
        "or a folder as save_pretrained writes it; a folder of that name is taken first",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help=f"folder for the bundle (default for the catalogue's: NAME in ${_home.VARIABLE}, where demur.load(NAME) "
        "finds it)",
    )
    parser.add_argument(
        "--recipe",
        choices=["auto", "fp32", "int8", "int8-row", "int8-weights", "fp16"],
        default="auto",
        help="quantisation; auto takes the fastest that is near enough to PyTorch; fp16 is for CUDA (default: auto)",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="keep the bundle of the --recipe given even if it is too far from PyTorch; demur.json and card say so",
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FILE",
        help="JSONL to run through the finished bundle, such as a model card's examples: in each line a conversation "
        "in any shape that `demur score` takes, `expected` (the label), and optionally `score` (the probability of "
        "that label, 0 to 1) and `tolerance` (how far from it is near enough; 0.02 if left out). A table shows "
        "expected and found; one that differs makes the exit status 1, and the bundle stays",
    )
    parser.add_argument(
        "--template",
        help="agentlans, minos, response-only or a JSON file (default: the catalogue's, or recognised by the "
        "tokenizer's role tags)",
    )
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="JSONL of conversations to calibrate on and compare with, added to demur's own (with --vocabulary: in "
        "their place)",
    )
    parser.add_argument(
        "--vocabulary",
        type=Path,
        metavar="FILE",
        help="JSONL of conversations; entries of the vocabulary that they don't use are left out, but for characters",
    )
    parser.add_argument(
        "--padded",
        action="store_true",
        help="for CUDA: a graph that takes texts of several lengths in one run, padded (with --recipe fp32 or fp16)",
    )
    parser.add_argument(
        "--interop",
        action="store_true",
        help="add the folder interop, which optimum and transformers.js read: standard inputs, fp32 and int8",
    )
    parser.add_argument(
        "--revision", help="commit, tag or branch to download (default: the catalogue's, or main); of a folder, to note"
    )
    parser.add_argument("--offline", action="store_true", help="download nothing, as with HF_HUB_OFFLINE=1")
    parser.add_argument("--name", help="the bundle's name (default: the catalogue's, or that of the --out folder)")
    parser.add_argument("--model-version", default="1", help="the bundle's version (default: %(default)s)")
    parser.add_argument("--repository", help="where the checkpoint in a folder was published, to note")
    parser.add_argument("--licence", help="SPDX name of the weights' licence (default: the catalogue's, or unknown)")
    parser.add_argument("--languages", help="codes of the languages it was trained on, by commas")
    parser.add_argument("--notes", type=Path, help="Markdown about the model, for the card")
    return parser


def _export(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    try:
        from demur_export import checkpoint, examples, source

        if asked.accept and asked.recipe == "auto":
            parser.error("--accept is for a --recipe of your choice; auto ends with one that is near enough")
        found = source.find(asked.source)
        out = asked.out or _home_of(parser, found)
        if asked.repository and found.folder is None:
            parser.error("--repository is for a folder; what is downloaded is noted by itself")
        # subtle: torch takes seconds to import, so what is asked for is looked at before; a download comes after, so
        # that it isn't in vain where torch is missing.
        from demur_export.pipeline import export
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; {_catalogue.PIP}") from error
    options = _options(asked, found, out)
    wanted = examples.read(asked.examples, checkpoint.read(options.source).labels) if asked.examples else []
    parity = export(options, say=lambda line: print(line, file=sys.stderr))
    print(
        f"{out}: {parity.label_flips} label flips on {parity.texts} texts, "
        f"max |dp| {parity.max_dp:.4f}, mean |dp| {parity.mean_dp:.5f}"
    )
    if not wanted:
        return 0
    outcomes = examples.run(out, wanted)
    print(examples.table(outcomes))
    return 0 if all(one.met for one in outcomes) else 1


def _home_of(parser: argparse.ArgumentParser, found: "Source") -> Path:
    """Where a model of the catalogue goes by itself; all others need `--out`."""
    if found.entry is None:
        parser.error("--out FOLDER is missing; only models of the catalogue have a folder of their own")
    home = _home.folder()
    if home is None:
        parser.error(f"this user has no home folder; set {_home.VARIABLE}, or give --out FOLDER")
    return home / found.entry.name


def _options(asked: argparse.Namespace, found: "Source", out: Path) -> "Options":
    """Fetch the checkpoint if need be, and put together what is asked for and what the catalogue says."""
    from demur_export import source
    from demur_export.options import Options

    entry = found.entry
    if found.folder is None:
        # A path with one slash reads like a Hub id, so a mistyped one shows here.
        unnamed = "" if entry else " from the Hub; there is no folder of this name"
        print(f"fetching {found.repository}{unnamed}", file=sys.stderr)
        folder, revision = source.fetch(found, asked.revision, offline=asked.offline)
        repository = found.repository
    else:
        folder, revision, repository = found.folder, asked.revision, asked.repository
    languages = (code.strip() for code in (asked.languages or "").split(","))
    return Options(
        source=folder,
        out=out,
        recipe=asked.recipe,
        accept=asked.accept,
        template=asked.template or (entry.template if entry else None),
        texts=asked.texts,
        vocabulary=asked.vocabulary,
        padded=asked.padded,
        interop=asked.interop,
        name=asked.name or (entry.name if entry else None),
        repository=repository,
        revision=revision,
        licence=asked.licence or (entry.licence if entry else "unknown"),
        languages=tuple(code for code in languages if code) or (entry.languages if entry else ()),
        model_version=asked.model_version,
        notes=asked.notes.read_text(encoding="utf-8") if asked.notes else "",
        entry=entry,
    )


if __name__ == "__main__":
    sys.exit(main())
