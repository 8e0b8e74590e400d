"""How the benchmarks say what they found: tables, and targets that are met or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from _common import resample


@dataclass(frozen=True)
class Target:
    """What was aimed at beside what was found; a benchmark shows it and never fails on it.

    Attributes:
        met: None where it could not be measured.
    """

    aim: str
    found: str
    met: bool | None

    def record(self) -> dict[str, Any]:
        """Return what the results keep."""
        return {"aim": self.aim, "found": self.found, "met": self.met}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; the first column is to the left, the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def absences(reasons: Mapping[str, str], names: Mapping[str, str] | None = None) -> list[str]:
    """Return a paragraph for each side that could not take part: its name, or what `names` has for it, and why."""
    return [f"\nAbsent: {names[name] if names else f'`{name}`'} ({reason})." for name, reason in reasons.items()]


def targets_table(targets: Sequence[Target]) -> list[str]:
    """Return the lines of a Markdown table of targets."""
    said = {True: "met", False: "**not met**", None: "not measured"}
    return table(["target", "found", ""], [[target.aim, target.found, said[target.met]] for target in targets])


def ratio(aim: str, theirs: Sequence[float], ours: Sequence[float], least: float) -> Target:
    """Return how many times as fast one side is, over all blocks, with the middle 95 % of what resampled ones give."""
    weights = resample(len(ours))
    ratios = (weights @ np.array(theirs)) / (weights @ np.array(ours))
    low, high = np.percentile(ratios[1:], [2.5, 97.5])
    return Target(aim, f"{ratios[0]:.2f} [{low:.2f}, {high:.2f}]", bool(ratios[0] >= least))
