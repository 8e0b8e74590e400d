"""A drop-in for LLM Guard's `NoRefusal` output scanner.

It takes the same arguments, gives the same answers for the same scores, and runs any demur bundle. LLM Guard itself is
not needed: its `scan_output` takes this scanner as it takes its own.

Example:
    from demur.integrations.llm_guard import NoRefusal

    scanner = NoRefusal(threshold=0.75, match_type="full")
    output, is_valid, risk_score = scanner.scan(prompt, output)
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import demur
from demur._template import is_blank
from demur.errors import ShapeError
from demur.integrations import _sentences

__all__ = ["MatchType", "NoRefusal"]


class MatchType(Enum):
    """What is judged: each sentence of an output by itself, or the output as a whole."""

    SENTENCE = "sentence"
    FULL = "full"


class NoRefusal:
    """Tells whether an output is a refusal, as LLM Guard's scanner of this name does.

    It differs from LLM Guard 0.3.16's where LLM Guard's can't be had or isn't wanted: `model` is a bundle, and none of
    the Hub's checkpoints; a long output is read with its middle left out, not cut off at 128 tokens (`truncate=128`
    cuts it off); special tokens spelt inside an output are read as text; sentences are cut by rules of demur's own
    (`sentences` takes any others); nothing is logged.

    Args:
        model: A bundle's name or folder, or a classifier that `demur.load` returned; by default demur's own. Its
            own threshold plays no part here.
        threshold: Scores above it, rounded to hundredths, are refusals; a probability.
        match_type: `full` or `sentence`, or a `MatchType` of this module or of LLM Guard.
        use_onnx: Taken so that calls written for LLM Guard go on working; demur has nothing but ONNX.
        truncate: Read only the first so many tokens of a text, special tokens included; LLM Guard reads 128. By
            default, all that the bundle reads.
        sentences: What cuts an output into sentences; `nltk.sent_tokenize` cuts where LLM Guard does.
        with_prompt: Judge the output as the reply to its prompt, which LLM Guard never does.

    Raises:
        BundleError: The bundle can't be used.
        TypeError: `model` is something else, such as LLM Guard's `Model`.
        ValueError: `threshold`, `match_type` or `truncate` is out of its range, or the prompt was asked for and can't
            be read.
    """

    def __init__(
        self,
        *,
        model: str | Path | demur.Classifier | None = None,
        threshold: float = 0.75,
        match_type: MatchType | Enum | str = MatchType.FULL,
        use_onnx: bool = False,
        truncate: int | None = None,
        sentences: Callable[[str], Iterable[str]] = _sentences.split,
        with_prompt: bool = False,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; it must be from 0 to 1")
        self._threshold = threshold
        self._match_type = _match_type(match_type)
        self._sentences = sentences
        self._with_prompt = with_prompt
        self._model = _classifier(model)
        if with_prompt:
            _check_reads_prompts(self._model, truncate)
        if truncate is not None:
            self._model = self._model.truncated(truncate)

    def scan(self, prompt: str, output: str) -> tuple[str, bool, float]:
        """Judge one output.

        Args:
            prompt: What the user asked; not read unless the scanner was made with `with_prompt`.
            output: What the model replied.

        Returns:
            The output as it came; whether it is valid, so no refusal (a blank one is); and the risk: from -1 for a
            score of 0 over 0 at the threshold to 1 for a score of 1, in tenths, and -1 for a blank output. When
            several sentences are refusals it is the first one's.

        Raises:
            ShapeError: An argument is not a string.
        """
        if not isinstance(output, str):
            raise ShapeError(f"output is {type(output).__name__}, expected a string")
        if is_blank(output):
            return output, True, -1.0
        highest = 0.0
        for score in self._scores(prompt, output):
            highest = max(highest, score)
            if score > self._threshold:
                return output, False, self._risk(score)
        return output, True, self._risk(highest)

    def _scores(self, prompt: str, output: str) -> Iterator[float]:
        """Yield the score of the output or of each of its sentences, in hundredths."""
        asked = prompt if self._with_prompt else None
        if self._match_type is MatchType.FULL:
            yield round(self._model.check(output, prompt=asked).score, 2)
            return
        rows: Iterator[Any] = (part for part in self._sentences(output.strip()) if not is_blank(part))
        if asked is not None:
            rows = ({"prompt": asked, "response": part} for part in rows)
        verdicts = self._model.stream(rows)
        for verdict in verdicts:
            yield round(verdict.score, 2)

    def _risk(self, score: float) -> float:
        """Return how far a score is from the threshold, as a part of the way to 1 or to 0, in tenths.

        The formula is that of LLM Guard's `calculate_risk_score`.
        """
        room = 1 - self._threshold if score > self._threshold else self._threshold
        # subtle: at a threshold of 0 a score of 0 has no way to go; LLM Guard divides by zero there.
        return round((score - self._threshold) / room, 1) if room else 0.0


def _match_type(given: MatchType | Enum | str) -> MatchType:
    value = given.value if isinstance(given, Enum) else given
    try:
        return MatchType(value)
    except ValueError as error:
        raise ValueError(
            f"match_type is {value!r}; it must be one of {', '.join(repr(m.value) for m in MatchType)}"
        ) from error


def _classifier(model: object) -> demur.Classifier:
    if isinstance(model, demur.Classifier):
        return model
    if model is None or isinstance(model, str | Path):
        return demur.load(model)
    raise TypeError(
        f"model is {type(model).__name__} {model}, expected a bundle's name or folder or a demur.Classifier; "
        "demur-export CHECKPOINT --out FOLDER makes a bundle of a checkpoint"
    )


def _check_reads_prompts(model: demur.Classifier, truncate: int | None) -> None:
    if truncate is not None:
        raise ValueError("truncate reads the beginning of an output alone; leave it out where the prompt is to be read")
    if model.encode({"prompt": "?", "response": "."}) == model.encode({"response": ".", "prompt": ""}):
        raise ValueError(f"with_prompt is set, but {model.name} was trained on replies alone and reads no prompts")
