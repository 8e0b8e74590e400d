"""LLM Guard's side of `llm_guard_agreement.py`; runs in an environment with llm-guard, and needs nothing of demur.

python benchmarks/_llm_guard_theirs.py JOB.json ANSWERS.json
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path


def main() -> None:
    """Read a job (`model`, `texts`, `thresholds`, `nltk`), scan, and write the answers."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.environ["NLTK_DATA"] = job["nltk"]  # nltk reads it when it is imported
    punkt = _punkt(Path(job["nltk"]))
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    from llm_guard.model import Model
    from llm_guard.output_scanners.no_refusal import DEFAULT_MODEL, NoRefusal
    from llm_guard.util import split_text_by_sentences

    model = Model(path=job["model"], pipeline_kwargs=DEFAULT_MODEL.pipeline_kwargs)
    answers = {}
    for match_type in ("full", "sentence"):
        for threshold in job["thresholds"]:
            scanner = NoRefusal(model=model, threshold=threshold, match_type=match_type)
            answers[f"{match_type} {threshold}"] = [scanner.scan("", text)[1:] for text in job["texts"]]
    found = {
        "versions": {name: version(name) for name in ("llm-guard", "transformers", "torch", "nltk")},
        "punkt": punkt,
        "answers": answers,
        "sentences": [split_text_by_sentences(text) if text.strip() else [] for text in job["texts"]],
    }
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


def _punkt(folder: Path) -> str:
    """Make sure that nltk's sentence splitter has parameters; returns where they are from."""
    import nltk
    from nltk.tokenize.punkt import PunktParameters, save_punkt_params

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        if nltk.download("punkt_tab", download_dir=str(folder), quiet=True):
            return "nltk's own, downloaded"
        target = folder / "tokenizers" / "punkt_tab" / "english"
        target.mkdir(parents=True, mode=0o700)
        save_punkt_params(PunktParameters(), dir=str(target))
        return "its tables empty, since nltk's own can't be downloaded here"
    return "nltk's own"


if __name__ == "__main__":
    main()
