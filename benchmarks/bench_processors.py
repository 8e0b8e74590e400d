"""Do other processors give the same scores?

    python benchmarks/bench_processors.py --name NAME [--note WORDS] [--texts N]

Run it on each processor, or under an emulator that takes its place; a run adds its record to the others, and the page
compares them all with the one named first. It needs demur alone. Where int8 products saturate (x86 without VNNI), it
also tells what the graph would give there if demur didn't ask onnxruntime for exact ones.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import _common as common
import demur
from _report import table
from demur import _bundle, _machine, _session

CORPUS = common.FOLDER.parent / "export" / "demur_export" / "corpus.jsonl"


def texts(count: int) -> list[dict[str, Any]]:
    """Return that many short conversations of the gate's corpus, from all over its languages."""
    rows = sorted(common.read_rows(CORPUS), key=lambda row: len(json.dumps(row, ensure_ascii=False)))
    short = rows[: 4 * count]
    return [short[i * len(short) // count] for i in range(count)]


def scored(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return logits by `demur.load()` on one thread, the tokens of each text, and the seconds that they took."""
    model = demur.load(threads=1)
    start = time.perf_counter()
    verdicts = [model.judge_row(row) for row in rows]
    took = round(time.perf_counter() - start, 2)
    found = {"tokens": [v.tokens for v in verdicts], "logits": [list(v.logits) for v in verdicts], "seconds": took}
    if _machine.int8_saturates():
        session = onnxruntime.InferenceSession(
            str(_bundle.read(_bundle.find(None)).model.path),
            _session.options(1, saturating=False),
            providers=["CPUExecutionProvider"],
        )
        ids = (np.array([model.encode(row)], np.int64) for row in rows)
        found["saturated"] = [session.run([_session.OUTPUT], {_session.INPUT: one})[0][0].tolist() for one in ids]
    return found


def markdown(records: dict[str, dict[str, Any]]) -> str:
    """Return the page's section; distances are from the first record."""
    first = next(iter(records.values()))
    rows, lines = [], []
    for name, one in records.items():
        rows.append([name, _sets(one), *_distance(one["logits"], first["logits"])])
        if "saturated" in one:
            rows.append([f"{name}, if demur set nothing", "", *_distance(one["saturated"], first["logits"])])
        note = f" ({one['note']})" if one["note"] else ""
        lines.append(f"{name}{note}: {common.machine_line(one['machine'])}\n")
    head = ["", "int8 instructions", "label flips", "max \\|Δp\\|", "max \\|Δlogit\\|", "texts with equal bits"]
    words = (
        f"`demur-mini` through `demur.load()` over {len(first['tokens'])} short conversations of the gate's "
        f"({min(first['tokens'])} to {max(first['tokens'])} tokens), against the scores of the first line. With the "
        "options that demur sets no product of 8-bit numbers saturates; what is left is rounding in fp32, which "
        "differs between instruction sets and can move an activation to the next of its 255 steps.\n"
    )
    said = ["## Other processors (`bench_processors.py`)\n", words, *table(head, rows), "", *lines]
    return "\n".join([*said, "Raw: [processors.json](results/processors.json)."])


def _sets(record: dict[str, Any]) -> str:
    return ", ".join(record["machine"]["instruction_sets"]) or "none known"


def _distance(found: list[list[float]], reference: list[list[float]]) -> list[str]:
    here, there = np.array(found), np.array(reference)
    chances = [1 / (1 + np.exp(logits[:, 0] - logits[:, 1])) for logits in (here, there)]
    flips = int(((chances[0] >= 0.5) != (chances[1] >= 0.5)).sum())
    equal = int((here == there).all(1).sum())
    furthest = f"{np.abs(chances[0] - chances[1]).max():.2g}", f"{np.abs(here - there).max():.2g}"
    return [f"{flips} of {len(here)}", *furthest, str(equal)]


def main() -> None:
    """Score here, add the record, and write the page's section of all records."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True, help="of this processor, on the page")
    parser.add_argument("--note", default="", help="what else the page says of it, such as the emulator")
    parser.add_argument("--texts", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    options = parser.parse_args()
    path: Path = common.RESULTS / "processors.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["processors"] if path.is_file() else {}
    rows = texts(options.texts)
    if any(len(one["tokens"]) != len(rows) for one in kept.values()):
        parser.error(f"--texts: the records in {path.name} are of other texts; remove it to begin anew")
    kept[options.name] = {"note": options.note, "machine": common.machine_record(), **scored(rows)}
    common.write_results("processors", {"processors": kept})
    section = markdown(kept)
    common.write_section("processors", section)
    print(section)


if __name__ == "__main__":
    main()
