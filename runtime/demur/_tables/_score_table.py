"""`demur.score_table`: a whole table at once."""

from pathlib import Path
from typing import Any

from demur._classifier import Classifier
from demur._load import load
from demur._tables._columns import Columns
from demur._tables._frames import Frame, frame
from demur._tables._read import read
from demur._tables._scored import CHUNK, Scored, judge


def score_table(
    table: Any,
    *,
    model: Classifier | str | Path | None = None,
    threshold: float | str | None = None,
    workers: int | None = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    text: str | None = None,
    system: str | None = None,
) -> Any:
    """Judge the last reply of every row of a table.

    Args:
        table: A pandas or polars frame, a pyarrow table or record batch, anything that has Arrow's C interface
            (`__arrow_c_stream__`), or the path of a Parquet, Arrow, Feather, CSV, TSV or JSONL file.
        model: A classifier, or the name or folder of a bundle; by default the one that comes with demur.
        threshold: The score from which a reply counts as a refusal, as `load` takes it; not with a classifier.
        workers: Texts judged at a time; by default the cores that this machine grants.
        prompt: The column of what the user asked.
        response: The column of what the assistant replied.
        messages: The column of messages, OpenAI's or ShareGPT's, nested or as JSON text.
        text: The column of conversations written in the model's template.
        system: The column of system prompts, by default `system` where there is one. If none of these five is
            given, columns are recognised by their names, as `Classifier.stream` recognises keys.

    Returns:
        The table with the columns `demur_score` (float64), `demur_refusal` (bool), `demur_tokens` and
        `demur_elided` (int32) and `demur_error` (string, null where the row was scored; the others are null where
        it was not). Of the caller's own kind where that is pandas, polars or a record batch, otherwise a pyarrow
        table. Columns of these names that were there before make way; the rest stays as it is.

    Raises:
        DataError: It is no such table or file, or a column is not there.
        DataExtraError: A package of the `[data]` extra is not installed.
        BundleError: The bundle can't be used.
    """
    columns = Columns(prompt, response, messages, text, system)
    given = frame(read(table, columns) if isinstance(table, str | Path) else table)
    parts = columns.found(given.names)
    return given.with_scored(_scored(opened(model, threshold), given, parts, workers))


def opened(model: Classifier | str | Path | None, threshold: float | str | None, *, device: str = "cpu") -> Classifier:
    """Return a classifier as it is, or the one of a bundle.

    Raises:
        ValueError: A threshold is given beside a classifier, which has its own.
    """
    if not isinstance(model, Classifier):
        return load(model, threshold=threshold, device=device, threads=1)
    if threshold is not None:
        raise ValueError(f"threshold is {threshold!r}, but the classifier given has its own: load it with that one")
    return model


def _scored(model: Classifier, given: Frame, parts: dict[str, str], workers: int | None) -> Scored:
    scored = Scored(given.rows)
    for start in range(0, given.rows, CHUNK):
        cells = [given.cells(column, start, min(start + CHUNK, given.rows)) for column in parts.values()]
        scored.fill(start, judge(model, list(parts), cells, workers))
    return scored
