"""How much room does it take? What pip installs for demur and for its peers, and what `demur package` makes.

python benchmarks/bench_footprint.py
"""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import FOLDER, machine_line, machine_record, write_results, write_section
from _report import Target, absences, table, targets_table
from demur._bundle import find, read
from demur._package import archive, distributions, options
from demur._package.build import LAMBDA_BYTES, Request, build

MOST = 125
DEMUR, PACKAGED, OPTIMUM, TORCH = "demur", "packaged", "optimum", "torch"
NAMES = {
    DEMUR: "`pip install` of demur, model included",
    PACKAGED: "`demur package --target folder`, model included",
    OPTIMUM: "optimum and onnxruntime, no model",
    TORCH: "transformers and torch, no model",
}
# The releases that demur's [export] extra names, so that all of this is measured on what its figures compare with.
WANTED = {
    DEMUR: [str(FOLDER.parent)],
    OPTIMUM: ["optimum-onnx[onnxruntime]==0.1.0", "transformers>=4.53,<4.58", "torch>=2.6,<2.14"],
    TORCH: ["transformers>=4.53,<4.58", "torch>=2.6,<2.14"],
}
LARGEST = 6


def install(wanted: list[str], folder: Path) -> None:
    """Let pip install what is wanted into a folder, as it would into a fresh environment.

    Raises:
        RuntimeError: It failed; the message has what it said last.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--target", str(folder)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])


def package(folder: Path) -> None:
    """Package the default bundle for this machine."""
    build(Request("folder", folder, None, options.default_platform(), f"3.{sys.version_info.minor}"))


def measure(folder: Path) -> dict[str, Any]:
    """Return the bytes of all files in a folder and of its largest parts, and what is installed there."""
    parts: Counter[str] = Counter()
    for name, path in archive.files(folder).items():
        parts[name.partition("/")[0]] += path.stat().st_size
    return {
        "bytes": sum(parts.values()),
        "files": len(archive.files(folder)),
        "largest": dict(parts.most_common(LARGEST)),
        "versions": distributions.versions(folder),
    }


def measure_all() -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return what each takes, and the reason for each that could not be had."""
    makers: dict[str, Callable[[Path], None]] = {
        name: lambda folder, wanted=wanted: install(wanted, folder) for name, wanted in WANTED.items()
    }
    found, absent = {}, {}
    for name, make in (makers | {PACKAGED: package}).items():
        with tempfile.TemporaryDirectory() as room:
            try:
                make(Path(room) / name)
            except RuntimeError as error:
                absent[name] = str(error)
                continue
            found[name] = measure(Path(room) / name)
            zipped = Path(room) / f"{name}.zip"
            if zipped.is_file():
                found[name]["zip_bytes"] = zipped.stat().st_size
        print(name, found[name]["bytes"], file=sys.stderr, flush=True)
    return found, absent


def section(record: dict[str, Any]) -> str:
    """Return the section of the page."""
    sizes, packaged = record["sizes"], record["sizes"][PACKAGED]
    rows = [
        [NAMES[name], f"{one['bytes'] / 1e6:,.0f}", f"{one['bytes'] / packaged['bytes']:.1f}", f"{one['files']:,}"]
        for name, one in sorted(sizes.items(), key=lambda item: int(item[1]["bytes"]))
    ]
    parts = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in packaged["largest"].items())
    torch = sizes.get(TORCH, {}).get("versions", {}).get("torch")
    lines = [
        "## How much room does it take?",
        "Megabytes of all files, bytecode included, installed by pip into an empty folder; pip itself and Python are "
        f"not counted. The model takes {record['model_bytes'] / 1e6:.1f} MB of demur's two.",
        "\n".join(table(["", "MB", "times the packaged folder", "files"], rows)),
        f"The packaged folder's largest parts, in MB: {parts}. Its zip: {packaged['zip_bytes'] / 1e6:.1f} MB.",
    ]
    if torch:
        lines.append(
            f"torch is {torch}"
            + (": the build for CPUs. The larger one, with CUDA's libraries, was not measured." * ("+cpu" in torch))
        )
    lines += [line.strip() for line in absences(record["absent"], NAMES)]
    lines.append("\n".join(targets_table([Target(**target) for target in record["targets"]])))
    lines.append(machine_line(record["machine"]) + "\nRaw: [footprint.json](results/footprint.json).")
    return "\n\n".join(lines)


def targets(sizes: dict[str, dict[str, Any]]) -> list[Target]:
    """Return what was aimed at beside what was found."""
    megabytes = sizes[PACKAGED]["bytes"] / 1e6
    of_limit = f"{sizes[PACKAGED]['bytes'] / LAMBDA_BYTES:.0%}"
    return [
        Target(f"packaged with its model at most {MOST} MB", f"{megabytes:.1f} MB", megabytes <= MOST),
        Target("within the 250 MiB of a function made from a zip", of_limit, sizes[PACKAGED]["bytes"] <= LAMBDA_BYTES),
    ]


def main() -> None:
    """Measure, and write results and section."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    sizes, absent = measure_all()
    aims = [target.record() for target in targets(sizes)]
    record = {"machine": machine_record(), "sizes": sizes, "absent": absent, "targets": aims}
    record["model_bytes"] = read(find(None)).size
    write_results("footprint", record)
    said = section(record)
    write_section("footprint", said)
    print(said)


if __name__ == "__main__":
    main()
