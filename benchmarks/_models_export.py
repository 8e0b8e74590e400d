"""Runs commands in processes of their own, and says what they took; among them the export of a stand-in."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _models_load import held_mb
from demur import __version__, _catalogue

BUNDLE, RECORD = "bundle", "export.json"


@dataclass(frozen=True)
class Ran:
    """What a command said and took.

    Attributes:
        seconds: From its start to its end.
        cpu_s: Of processors, over all its threads and the processes that it waited for.
        peak_mb: The most memory (resident set, 10^6 bytes) that it or one of these held.
        stages: What it wrote to standard error: each line with the seconds until then, and the most memory until then.
    """

    said: str
    seconds: float
    cpu_s: float
    peak_mb: float
    stages: list[tuple[float, float, str]]

    def record(self) -> dict[str, Any]:
        """Return what the results keep."""
        return {key: value for key, value in asdict(self).items() if key != "said"}


def run(command: Sequence[str]) -> Ran:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed; the message has what it said last.
    """
    stages = []
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        # subtle: ru_maxrss begins at what this process holds when it starts the other, so this one has to stay small:
        # it imports no torch.
        child = subprocess.Popen(command, stdout=said, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        for line in child.stderr:
            stages.append((round(time.perf_counter() - start, 1), held_mb(child.pid), line.rstrip("\n")))
        _, status, used = os.wait4(child.pid, 0)
        took = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        child.stderr.close()
        if child.returncode:
            words = "\n".join(line for _, _, line in stages)
            raise RuntimeError(f"exit status {child.returncode}: {words.strip()[-4000:]}")
        said.seek(0)
        unit = 1 if sys.platform == "darwin" else 1024
        cpu = used.ru_utime + used.ru_stime
        return Ran(said.read(), round(took, 3), round(cpu, 3), round(used.ru_maxrss * unit / 1e6, 1), stages)


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python with the arguments."""
    return [sys.executable, "-W", "ignore", *arguments]


def export(
    name: str, checkpoint: Path, folder: Path, recipe: str, others: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Export a stand-in to the bundle in `folder`, unless one of the same checkpoint, recipe and demur is there.

    Args:
        name: The catalogue's name of what it stands for.
        checkpoint: The stand-in's folder.
        folder: Where the bundle goes, and the record of its export.
        recipe: For `demur-export`; one that falls short of the gate is accepted if it isn't `auto`.
        others: Other options that take a file, such as `--vocabulary`.

    Returns:
        Seconds, peak memory, date, sizes in bytes, and all that the bundle's manifest says of recipes and parity.

    Raises:
        RuntimeError: The export failed.
    """
    weights = (checkpoint / "model.safetensors").read_bytes()
    files = {option: hashlib.sha256(path.read_bytes()).hexdigest() for option, path in (others or {}).items()}
    made_of = {"sha256": hashlib.sha256(weights).hexdigest(), "recipe": recipe, "demur": __version__, **files}
    kept = folder / RECORD
    if kept.is_file():
        record: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        if record["made_of"] == made_of:
            return record
    folder.mkdir(parents=True, exist_ok=True)
    template = _catalogue.entries()[name].template
    options = ["--recipe", recipe, "--name", name, "--template", template, "--out", str(folder / BUNDLE)]
    accept = [] if recipe == "auto" else ["--accept"]
    given = [word for option, path in (others or {}).items() for word in (option, str(path))]
    ran = run(python("-m", "demur_export.cli", str(checkpoint), *options, *accept, *given))
    manifest = json.loads((folder / BUNDLE / "demur.json").read_text(encoding="utf-8"))
    record = {
        "made_of": made_of,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "took": ran.record(),
        "checkpoint_bytes": size(checkpoint),
        "bundle_bytes": size(folder / BUNDLE),
        "architecture": manifest["architecture"],
        "parameters": manifest["parameters"],
        "max_tokens": manifest["max_tokens"],
        "recipe": manifest["recipe"],
        "parity": manifest["parity"],
        "tried": manifest["exported"]["tried"],
        "vocabulary": manifest["exported"].get("vocabulary"),
    }
    kept.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
