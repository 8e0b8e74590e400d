"""Does demur's NoRefusal say what LLM Guard's says, on the same texts with the same weights?

LLM Guard pins versions that demur doesn't share, so it has an environment of its own:

    python3 -m venv llm-guard && llm-guard/bin/pip install llm-guard
    python benchmarks/llm_guard_agreement.py --llm-guard llm-guard/bin/python

The weights are a small stand-in's, random, in fp32 on both sides: what is compared is everything around them. Where
nltk's sentence splitter has no parameters and can't download them, it runs with empty ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import standins
from _common import FOLDER, machine_line, machine_record
from demur._tokenizer import Tokenizer
from demur.integrations import _sentences
from demur.integrations.llm_guard import NoRefusal
from demur_export import corpus
from demur_export.options import Options
from demur_export.pipeline import export

THRESHOLDS = (0.25, 0.5, 0.75)
LIMIT = 128


def texts() -> list[str]:
    """Return replies and prompts of demur's corpus, as many long ones put together of five, and blank ones."""
    rows = [json.loads(line) for line in corpus.OWN.read_text(encoding="utf-8").splitlines()]
    replies = [row["response"] for row in rows]
    long = ["\n\n".join(replies[i : i + 5]) for i in range(0, len(replies) - 4, 2)]
    return [*replies, *(row["prompt"] for row in rows), *long, "", " \n\t "]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both scanners and print how many answers are the same; 1 if one differs that should not."""
    parser = argparse.ArgumentParser(description="Compare demur's NoRefusal with LLM Guard's.")
    parser.add_argument("--llm-guard", required=True, metavar="PYTHON", help="Python of an environment with llm-guard")
    parser.add_argument("--standin", default="arctic-xs", choices=list(standins.STAND_INS), help="whose architecture")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        return _compare(Path(folder), options.llm_guard, options.standin)


def _compare(folder: Path, python: str, standin: str) -> int:
    checkpoint = standins.make(standin, folder / "checkpoint", small=True)
    config = checkpoint / "config.json"
    named = {"id2label": {"0": "NORMAL", "1": "REJECTION"}, "label2id": {"NORMAL": 0, "REJECTION": 1}}
    config.write_text(json.dumps(json.loads(config.read_text()) | named))
    bundle = folder / "bundle"
    export(Options(source=checkpoint, out=bundle, recipe="fp32", template="response-only"))
    given = texts()
    job = {"model": str(checkpoint), "texts": given, "thresholds": THRESHOLDS, "nltk": str(folder / "nltk")}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "nltk").mkdir()
    script = FOLDER / "_llm_guard_theirs.py"
    subprocess.run([python, script, folder / "job.json", folder / "theirs.json"], check=True)
    theirs = json.loads((folder / "theirs.json").read_text())
    print(machine_line(machine_record()))
    print(f"LLM Guard's side: {', '.join(f'{name} {number}' for name, number in theirs['versions'].items())}")
    print(f"{len(given)} texts; a {standin} stand-in, small; sentences by Punkt, {theirs['punkt']}")
    same = [list(_sentences.split(text)) == cut for text, cut in zip(given, theirs["sentences"], strict=True)]
    print(f"sentences cut alike: {sum(same)} of {len(same)} texts")
    special = Tokenizer(checkpoint / "tokenizer.json").added
    odd = [any(token in text for token in special) for text in given]
    print(f"texts that spell a special token, which demur reads as text and LLM Guard as the token: {sum(odd)}")
    cuts = dict(zip(given, theirs["sentences"], strict=True))
    stripped = {text.strip(): cut for text, cut in cuts.items()}
    missed = 0
    for threshold in THRESHOLDS:
        common: dict[str, Any] = {"model": bundle, "threshold": threshold, "truncate": LIMIT}
        full = NoRefusal(**common)
        missed += _report("full", threshold, full, given, theirs["answers"][f"full {threshold}"], odd)
        expected = theirs["answers"][f"sentence {threshold}"]
        shared = NoRefusal(**common, match_type="sentence", sentences=stripped.__getitem__)
        missed += _report("sentence, nltk's", threshold, shared, given, expected, odd)
        own = NoRefusal(**common, match_type="sentence")
        _report("sentence, demur's", threshold, own, given, expected, odd)
    return int(missed > 0)


def _report(
    kind: str, threshold: float, scanner: NoRefusal, given: list[str], expected: list[list[Any]], odd: list[bool]
) -> int:
    """Print one line of agreement; returns how many answers differ, of texts that spell no special token."""
    found = [list(scanner.scan("", text)[1:]) for text in given]
    verdicts = sum(a[0] == b[0] for a, b in zip(found, expected, strict=True))
    differ = [a != b for a, b in zip(found, expected, strict=True)]
    missed = sum(one and not spelled for one, spelled in zip(differ, odd, strict=True))
    refusals = sum(not valid for valid, _ in expected)
    print(
        f"{kind:18} threshold {threshold}: verdicts equal {verdicts} of {len(given)} ({refusals} refusals), "
        f"verdict and risk equal {len(given) - sum(differ)}; of those that differ, {missed} spell no special token"
    )
    return missed


if __name__ == "__main__":
    sys.exit(main())
