"""What does each published architecture become: how large, how near, how fast, and at what cost?

    python benchmarks/bench_models.py --checkpoints FOLDER [--only NAME ...] [--lengths N ...] [--recipe auto]
        [--out FOLDER] [--budget S] [--texts N]

FOLDER holds stand-ins as `standins.py all --out FOLDER` writes them; weights are random, and every figure is a
stand-in's. A run updates the models that it measures and keeps the records of the others. What it exports goes to
`--out`, where another run finds it again if checkpoint, recipe and demur's version are the same: after a change to the
export, empty it.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import _models_page as page
from _models_export import BUNDLE, export, python, run
from _models_serve import said, serve
from _models_sides import DEMUR, INT8, TORCH
from demur import _catalogue

MAKE, MEASURE = (str(common.FOLDER / f"_models_{work}.py") for work in ("make", "measure"))
LENGTHS, LONG = [16, 64, 128, 256, 512], [2048, 8192]


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return one stand-in's record.

    Raises:
        RuntimeError: A process failed; the message says how.
    """
    checkpoint = options.checkpoints / name
    exported = export(name, checkpoint, folder, options.recipe)
    most = exported["max_tokens"]
    lengths = sorted({n for n in options.lengths or [*LENGTHS, *LONG] if n <= most})
    if not lengths:
        raise RuntimeError(f"it reads {most} tokens at most, none of --lengths")
    print(f"{name}: exported as {exported['recipe']}; making graphs to compare with", flush=True)
    bundle = folder / BUNDLE
    made = said(run(python(MAKE, str(checkpoint), str(bundle), str(folder))))
    print(f"{name}: comparing and timing", flush=True)
    asked = {"checkpoint": str(checkpoint), "bundle": str(bundle), "made": made, "lengths": lengths}
    asked |= {"budget": options.budget, "count": options.texts}
    found = said(run(python(MEASURE, json.dumps(asked))))
    print(f"{name}: loading", flush=True)
    paths = {DEMUR: str(bundle), TORCH: str(checkpoint), INT8: made[INT8]}
    served = {side: serve(side, checkpoint, path, folder, most) for side, path in paths.items()}
    packages = ("torch", "transformers", "optimum-onnx", "onnx")
    return {"machine": common.machine_record(*packages), "export": exported, **found, "served": served}


def parse() -> argparse.Namespace:
    """Return the command's options."""
    names = list(_catalogue.entries())
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoints", type=Path, required=True, metavar="FOLDER", help="a stand-in in each folder")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--lengths", type=int, nargs="+", metavar="N", help="tokens; by default up to what each reads")
    parser.add_argument("--recipe", default="auto", help="for demur-export (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for bundles and graphs (default: not kept)")
    parser.add_argument(
        "--budget", type=float, default=40, metavar="S", help="seconds of timing a length (default: %(default)s)"
    )
    parser.add_argument("--texts", type=int, default=206, metavar="N", help="to compare on (default: %(default)s)")
    options = parser.parse_args()
    if options.texts < 2 or min(options.lengths or [LENGTHS[0]]) < 4:
        parser.error("--texts: expected at least 2; --lengths: at least 4")
    return options


def previous() -> dict[str, Any]:
    """Return the records of earlier runs by name."""
    path = common.RESULTS / "models.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["models"] if path.is_file() else {}
    return found


def keep(models: dict[str, Any], failed: dict[str, str]) -> str:
    """Write results and section, with those of the catalogue that have no record as absent, and return the section."""
    names = list(_catalogue.entries())
    # As JSON has them: lengths of earlier runs are text.
    models = json.loads(json.dumps({name: models[name] for name in names if name in models}))
    absent = {name: failed.get(name, "not measured yet") for name in names if name not in models}
    for one in models.values():
        one["targets"] = [target.record() for target in page.targets(one)]
    common.write_results("models", {"models": models, "absent": absent})
    section = page.markdown(models, absent)
    common.write_section("models", section)
    return section


def measure_all(names: Sequence[str], options: argparse.Namespace, out: Path) -> str:
    """Measure one stand-in after the other, each kept as soon as it is there, and return the section."""
    models, failed = previous(), {}
    for name in names:
        try:
            if not (options.checkpoints / name / "config.json").is_file():
                raise RuntimeError(f"no stand-in of it in --checkpoints {options.checkpoints.name}")
            models[name] = measure(name, options, out / name)
        except RuntimeError as error:
            failed[name] = str(error).strip().splitlines()[-1]
            print(f"{name}: {error}", flush=True)
        section = keep(models, failed)
    return section


def main() -> None:
    """Measure, write the results and the page's section, and print the section."""
    options = parse()
    common.require("torch", "transformers", "optimum")
    names = options.only or list(_catalogue.entries())
    if options.out is not None:
        print(measure_all(names, options, options.out))
        return
    with tempfile.TemporaryDirectory(prefix="demur-models-") as folder:
        print(measure_all(names, options, Path(folder)))


if __name__ == "__main__":
    main()
