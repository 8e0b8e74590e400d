"""What the benchmarks share: labelled sets, metrics with intervals, panels, and where results go."""

import gzip
import io
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from _needs import OUT
from _needs import require as require
from demur import __version__, _machine

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

FOLDER = Path(__file__).resolve().parent
_OUT = Path(os.environ.get(OUT, FOLDER))
RESULTS, PLOTS, PAGE = _OUT / "results", _OUT / "plots", _OUT / "README.md"
AUTHORED = FOLDER.parent / "models" / "training" / "authored"

BINS = 15
RESAMPLES = 1000
SEED = 20

_PAGE_HEAD = "# Benchmarks\n\nOne question a file; each section is written by the file that it names.\n"


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a JSONL file, gzip or plain."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@dataclass
class EvalSet:
    """A labelled set and each method's scores of its rows.

    Attributes:
        files: Where it is from.
        index: Each row's place in the files, one after the other.
        labels: 1 for a refusal, 0 for none.
        elided: Rows longer than the model reads.
        alone: demur's scores of the replies without their prompts.
    """

    name: str
    files: list[Path]
    index: list[int]
    rows: list[dict[str, Any]]
    labels: Floats
    elided: int = 0
    alone: Floats = field(default_factory=lambda: np.empty(0))
    scores: dict[str, Floats] = field(default_factory=dict)


def read_sets(folder: Path, limit: int | None = None) -> list[EvalSet]:
    """Read every `eval_*.jsonl.gz` of a folder and the authored part that no model was trained on.

    Args:
        folder: The labelled sets.
        limit: Read only so many rows of each, evenly spread.
    """
    named = {
        path.name.removeprefix("eval_").removesuffix(".jsonl.gz"): [path] for path in folder.glob("eval_*.jsonl.gz")
    }
    named["authored"] = sorted((AUTHORED / "evaluation").glob("*.jsonl"))
    sets = []
    for name, files in sorted(named.items()):
        rows = [row for path in files for row in read_rows(path)]
        kept = len(rows) if limit is None else min(limit, len(rows))
        index = [i * len(rows) // kept for i in range(kept)]
        labels = np.array([float(rows[i]["label"]) for i in index])
        sets.append(EvalSet(name, files, index, [rows[i] for i in index], labels))
    return sets


def machine_record(*packages: str) -> dict[str, Any]:
    """Return what a figure has to be read with: machine, date, versions and command.

    Args:
        packages: Distributions to give the version of, beside those that demur runs on.
    """
    versions = {name: version(name) for name in ("numpy", "onnxruntime", "tokenizers", *packages)}
    return {
        "cpu": _cpu(),
        "cores": _machine.cores(),
        "instruction_sets": list(_machine.instruction_sets()),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), "demur": __version__} | versions,
        "command": _command(),
    }


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return a machine's record as one line of Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    cores = f"{machine['cores']} core{'s' * (machine['cores'] != 1)}"
    return f"`{machine['command']}` on {machine['date'][:10]} (UTC); {machine['cpu']}, {cores}; {versions}."


def _cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _command() -> str:
    """The command without the folders of this machine: absolute paths are cut to their last part."""
    said = ["python", f"{FOLDER.name}/{Path(sys.argv[0]).name}"]
    for argument in sys.argv[1:]:
        option, equals, value = argument.rpartition("=")
        said.append(option + equals + (Path(value).name if value.startswith("/") else value))
    return " ".join(said)


def write_results(question: str, record: Mapping[str, Any]) -> Path:
    """Write a record to `results/<question>.json` and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{question}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def write_section(question: str, markdown: str) -> None:
    """Put `markdown` between the page's markers of `question`; a page or a section that is not there is added.

    Raises:
        ValueError: The page has one marker of the two, or has them in the wrong order.
    """
    begin, end = f"<!-- {question}:begin -->", f"<!-- {question}:end -->"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else _PAGE_HEAD
    if begin not in page and end not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    head, found, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{PAGE}: expected {begin} and after it {end}")
    PAGE.write_text(f"{head}{begin}\n\n{markdown.strip()}\n\n{end}{tail}", encoding="utf-8")


def resample(rows: int) -> Floats:
    """Return how often each row counts: once in the first line, then as each bootstrap resample drew it.

    Metrics that take these weights come out as their value followed by one value for every resample, and metrics
    of the same weights are paired.

    Returns:
        `[1 + RESAMPLES, rows]`.
    """
    draws = np.random.default_rng(SEED).multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES)
    return np.vstack([np.ones(rows), draws])


def interval(values: Floats) -> dict[str, float] | None:
    """Return a metric's value with its 95 % percentile interval, or None where it is undefined.

    Args:
        values: The value, then that of every resample; NaN where undefined (no refusal was drawn).
    """
    if np.isnan(values[0]):
        return None
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return {"value": round(float(values[0]), 5), "low": round(float(low), 5), "high": round(float(high), 5)}


def rates(weights: Floats, labels: Floats, decided: Floats) -> dict[str, Floats]:
    """Return accuracy, precision, recall and F1, a value for each line of `weights`.

    Args:
        weights: From `resample`.
        labels: 1 for a refusal, 0 for none.
        decided: 1 where a refusal was found, 0 where not.
    """
    true, found, both = weights @ labels, weights @ decided, weights @ (labels * decided)
    with np.errstate(invalid="ignore"):
        return {
            "accuracy": weights @ (labels == decided) / weights.sum(axis=1),
            "precision": both / found,
            "recall": both / true,
            "f1": 2 * both / (true + found),
        }


def roc_auc(weights: Floats, labels: Floats, scores: Floats) -> Floats:
    """Return the area under the ROC curve for each line of `weights`; equal scores count half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    drawn, refused = weights[:, order], labels[order]
    refusals = np.add.reduceat(drawn * refused, starts, axis=1)
    answers = np.add.reduceat(drawn * (1 - refused), starts, axis=1)
    below = np.cumsum(answers, axis=1) - answers / 2
    with np.errstate(invalid="ignore"):
        return np.asarray((refusals * below).sum(axis=1) / (refusals.sum(axis=1) * answers.sum(axis=1)))


def calibration_error(weights: Floats, labels: Floats, scores: Floats) -> Floats:
    """Return the expected calibration error for each line of `weights`: `BINS` bins of equal width on the score."""
    gaps = np.zeros((len(scores), BINS))
    gaps[np.arange(len(scores)), bin_of(scores)] = scores - labels
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


def bin_of(scores: Floats) -> npt.NDArray[np.int64]:
    """Return each score's bin, 0 to `BINS` - 1."""
    return np.minimum((scores * BINS).astype(np.int64), BINS - 1)


def panels(titles: Sequence[str]) -> tuple["Figure", list["Axes"]]:
    """Return a figure with a square panel of 0 to 1 by 0 to 1 for each title, two side by side."""
    from matplotlib.figure import Figure

    lines = -(-len(titles) // 2)
    figure = Figure(figsize=(8.4, 4.3 * lines), layout="constrained")
    every = list(figure.subplots(lines, 2, squeeze=False).flat)
    for axes, title in zip(every, titles, strict=False):
        axes.set(title=title, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in every[len(titles) :]:
        axes.set_visible(False)
    return figure, every[: len(titles)]


def save_plot(figure: "Figure", name: str) -> None:
    """Write a figure to `plots/<name>.png`."""
    from PIL import Image

    PLOTS.mkdir(exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    # subtle: 64 colours are enough for lines and letters, and a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(64).save(PLOTS / f"{name}.png", optimize=True)
