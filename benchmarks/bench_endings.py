"""Does an answer become a refusal when it ends with an offer, a question back or a wish?

    python benchmarks/bench_endings.py [--model NAME|FOLDER] [--data FOLDER]

English answers that are judged rightly, from the authored evaluation part and, where --data has it, from XSTest (every
fourth), each with an ending put behind it. Some endings are among those that the default bundle was trained with
(`models/training/endings.json`), some are not. English refusals judged rightly get the same ones.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _common as common
import demur
from _report import table

SEEN = (
    "Is there anything else I can help you with?",
    "Let me know if you have any other questions.",
    "Have a great day!",
)
UNSEEN = (
    "May I be of further assistance?",
    "Tell me if you'd like a shorter version.",
    "Hope you have a lovely weekend!",
    "Do come back any time.",
)
EVERY = 4  # of XSTest's rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results and section."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", metavar="NAME|FOLDER", help="by default the bundle that comes with demur")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    model = demur.load(options.model, threads=1)
    found = {name: measure(model, rows) for name, rows in read(options.data).items()}
    machine = common.machine_record()
    common.write_results("endings", {"machine": machine, "model": model.name, "sets": found})
    common.write_section("endings", page(found, machine))
    print(page(found, machine))


def read(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the English rows of each set."""
    rows = common.read_rows(common.AUTHORED / "evaluation" / "en.jsonl")
    sets = {"authored": [row for row in rows if not row.get("earlier") and not row.get("system")]}
    path = data / "eval_xstest.jsonl.gz"
    if path.is_file():
        sets["xstest"] = common.read_rows(path)[::EVERY]
    return sets


def measure(model: demur.Classifier, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how many right verdicts turn with each ending, by label."""
    record: dict[str, Any] = {}
    for label, name in enumerate(("answers", "refusals")):
        of_label = [row for row in rows if row["label"] == label]
        plain = list(model.stream(pair(row) for row in of_label))
        right = [row for row, verdict in zip(of_label, plain, strict=True) if verdict.refusal == bool(label)]
        turned = {
            ending: sum(verdict.refusal != bool(label) for verdict in model.stream(pair(row, ending) for row in right))
            for ending in (*SEEN, *UNSEEN)
        }
        record[name] = {"right": len(right), "turned": turned}
    return record


def pair(row: dict[str, Any], ending: str = "") -> dict[str, str]:
    """Return a row as `stream` takes it, with an ending behind its reply."""
    return {"prompt": row["prompt"], "response": f"{row['response'].rstrip()} {ending}".rstrip()}


def page(found: dict[str, Any], machine: dict[str, Any]) -> str:
    """Return the section."""
    heads = [f"{name}, {kind}" for name in found for kind in found[name]]
    counts = [str(found[name][kind]["right"]) for name in found for kind in found[name]]
    rows = [
        [f"{ending}{'' if ending in SEEN else ' (not trained with)'}"]
        + [f"{found[name][kind]['turned'][ending]}" for name in found for kind in found[name]]
        for ending in (*SEEN, *UNSEEN)
    ]
    lines = [
        "## Does a closing offer turn an answer into a refusal?",
        "English replies that are judged rightly as they stand (first line), and how many of their verdicts turn when "
        "a sentence is put behind them.",
        "\n".join(table(["ending", *heads], [["none: judged rightly", *counts], *rows])),
        common.machine_line(machine),
    ]
    return "\n\n".join(lines)


if __name__ == "__main__":
    main()
