"""What does a multilingual model become when its vocabulary is pruned?

    python benchmarks/bench_pruned.py --checkpoint FOLDER [--name e5-small] [--recipe int8-row] [--out FOLDER]

FOLDER holds a stand-in as `standins.py` writes it. It is exported whole, with the pieces that demur's own conversations
in 19 languages use, and with those of the German ones. What is made goes to `--out`, where another run finds it again;
after a change to the export, empty it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import _common as common
from _models_export import BUNDLE, export
from _models_serve import serve
from _models_sides import DEMUR
from _report import table
from demur import _catalogue

ALL, GERMAN = "pieces of 19 languages", "pieces of German"


def corpora(folder: Path) -> dict[str, dict[str, Path]]:
    """Return, by what is kept, the files for `demur-export`; the texts to compare on are others than those kept for."""
    trained = sorted((common.AUTHORED / "train").glob("*.jsonl"))
    folder.mkdir(parents=True, exist_ok=True)
    every = folder / "authored.jsonl"
    every.write_text("".join(path.read_text(encoding="utf-8") for path in trained), encoding="utf-8")
    german = {"--vocabulary": common.AUTHORED / "train" / "de.jsonl"}
    german["--texts"] = common.AUTHORED / "evaluation" / "de.jsonl"
    return {"whole": {}, ALL: {"--vocabulary": every}, GERMAN: german}


def measure(checkpoint: Path, name: str, recipe: str, out: Path) -> dict[str, Any]:
    """Return a record for each that is made.

    Raises:
        RuntimeError: An export failed.
    """
    found = {}
    for i, (kept, files) in enumerate(corpora(out).items()):
        folder = out / str(i)
        exported = export(name, checkpoint, folder, recipe, files)
        print(f"{kept}: exported", flush=True)
        bundle = folder / BUNDLE
        sizes = {path.name: path.stat().st_size for path in bundle.iterdir() if path.is_file()}
        served = serve(DEMUR, checkpoint, str(bundle), folder, exported["max_tokens"])
        found[kept] = {"export": exported, "bytes": sizes, "served": served}
    return found


def markdown(name: str, records: dict[str, Any], machine: dict[str, Any]) -> str:
    """Return the page's section."""
    rows = []
    for kept, one in records.items():
        parity, served, vocabulary = one["export"]["parity"], one["served"], one["export"]["vocabulary"]
        sizes = [f"{one['bytes'][file] / 1e6:.1f}" for file in ("model.onnx", "tokenizer.json")]
        entries = [f"{vocabulary['entries']:,}", f"{vocabulary['more_tokens']:.1%}"] if vocabulary else ["all", "0.0%"]
        loads = [f"{np.median(served['load_s']):.2f}", f"{served['peak_mb']:,.0f}"]
        flips = f"{parity['label_flips']} of {parity['texts']} ({parity['sure_flips']})"
        near = [flips, f"{parity['max_dp']:.4f}", f"{parity['mean_dp']:.5f}"]
        rows.append([kept, *entries, *sizes, *loads, *near])
    head = ["", "entries", "more tokens", "model.onnx, MB", "tokenizer.json, MB", "load, s", "peak, MB"]
    head += ["label flips (sure)", "max \\|Δp\\|", "mean \\|Δp\\|"]
    recipe = records["whole"]["export"]["recipe"]
    words = (
        f"`{name}`, `{recipe}`. *A stand-in's figures, weights random.* Pruned to what demur's conversations for "
        'training use, and compared on others: the gate\'s, and German ones. "More tokens" is what these take '
        "beyond what they took with all pieces. Distances are from PyTorch with the whole vocabulary, so that a text "
        "read as other pieces counts in full; a random model knows nothing of what a piece's parts have in common, "
        "and is moved by it more than a trained one. Its vocabulary was learned from these conversations and filled "
        "up with pieces that no text uses, so the published one would keep more.\n"
    )
    title = "## A smaller vocabulary (`bench_pruned.py`)\n"
    return "\n".join(
        [
            title,
            words,
            *table(head, rows),
            "",
            common.machine_line(machine),
            "",
            "Raw: [pruned.json](results/pruned.json).",
        ]
    )


def main() -> None:
    """Measure, write the results and the page's section, and print the section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="FOLDER", help="the stand-in")
    parser.add_argument("--name", default="e5-small", choices=list(_catalogue.entries()), help="what it stands for")
    parser.add_argument("--recipe", default="int8-row", help="for demur-export (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for bundles (default: not kept)")
    options = parser.parse_args()
    common.require("torch", "transformers", "optimum")
    with tempfile.TemporaryDirectory(prefix="demur-pruned-") as folder:
        records = measure(options.checkpoint, options.name, options.recipe, options.out or Path(folder))
    machine = common.machine_record("torch", "transformers", "optimum-onnx", "onnx")
    common.write_results("pruned", {"machine": machine, "name": options.name, "made": records})
    section = markdown(options.name, records, machine)
    common.write_section("pruned", section)
    print(section)


if __name__ == "__main__":
    main()
