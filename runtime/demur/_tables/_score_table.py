"""`demur.score_table`: a whole table at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from demur._classifier import Classifier
from demur._columns import Columns
from demur._load import load
from demur._tables._frames import frame
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
            (`__arrow_c_stream__`), or the path of a file, a folder or a glob, of the formats of `demur score`.
        model: A classifier, or the name or folder of a bundle; by default the one that comes with demur.
        threshold: The score from which a reply counts as a refusal, as `load` takes it; not with a classifier.
        workers: Texts judged at a time; by default the cores that this machine grants.
        prompt: The column of what the user asked; like the others a name, or a path such as `log[0].question`.
        response: The column of what the assistant replied.
        messages: The column of messages, OpenAI's or ShareGPT's, nested or as JSON text.
        text: The column of conversations written in the model's template.
        system: The column of system prompts, by default `system` where there is one. If none of these five is
            given, rows are recognised by the names of the columns, as `Classifier.stream` recognises keys.

    Returns:
        The table with the columns `demur_score` (float64), `demur_refusal` (bool), `demur_tokens` and
        `demur_elided` (int32) and `demur_error` (string, null where the row was scored; the others are null where
        it was not). Of the caller's own kind where that is pandas, polars or a record batch, otherwise a pyarrow
        table. Columns of an earlier verdict make way, those of `demur score` too; the rest stays as it is.

    Raises:
        DataError: It is no such table or file, or a column is not there.
        DataExtraError: A package of the `[data]` extra is not installed.
        BundleError: The bundle can't be used.
    """
    columns = Columns(prompt, response, messages, text, system)
    given = read(table, columns) if isinstance(table, str | Path) else table
    return scored(given, columns, lambda: opened(model, threshold), workers)


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


def scored(table: Any, columns: Columns, open_model: Callable[[], Classifier], workers: int | None) -> Any:
    """Judge the rows of a table as `score_table` does; the model is opened when the columns have been found."""
    given = frame(table)
    wanted = columns.wanted(given.names)
    model, made = open_model(), Scored(given.rows)
    for start in range(0, given.rows, CHUNK):
        cells = {name: given.cells(name, start, min(start + CHUNK, given.rows)) for name in wanted}
        made.fill(start, judge(model, columns, cells, workers))
    return given.with_scored(made)
