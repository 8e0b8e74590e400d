"""`demur.BatchScorer`: a batch in, the same batch with verdicts out, for whatever maps functions over batches."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from demur._classifier import Classifier
from demur._columns import Columns
from demur._tables._frames import plain
from demur._tables._score_table import opened, scored
from demur._tables._scored import Scored, judge


class BatchScorer:
    """Judges the last reply of every row of a batch; made to be passed to `datasets.Dataset.map(batched=True)`.

    It opens its model when the first batch comes, in the process where it comes, so it can be pickled at no cost.
    `score_table` says what the arguments mean and which columns are added; a row that can't be scored gets a
    `demur_error` and stops nothing. A data set whose format is of arrays, such as `numpy`, hands over no types: take
    its format off first.

    Example:
        scored = dataset.map(demur.BatchScorer(workers=1), batched=True, num_proc=4)

    Args:
        model: A classifier, or the name or folder of a bundle.
        threshold: The score from which a reply counts as a refusal.
        workers: Texts judged at a time; by default the cores that this machine grants, which is right for one
            process. Where several share the machine, as with `num_proc`, give 1.
        device: `cpu` or `cuda`.
        prompt: The column of what the user asked.
        response: The column of what the assistant replied.
        messages: The column of messages.
        text: The column of conversations written in the model's template.
        system: The column of system prompts.

    Raises:
        DataError: The columns named don't make one conversation.
        ValueError: A threshold is given beside a classifier, which has its own.
    """

    def __init__(
        self,
        model: Classifier | str | Path | None = None,
        *,
        threshold: float | str | None = None,
        workers: int | None = None,
        device: str = "cpu",
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        text: str | None = None,
        system: str | None = None,
    ) -> None:
        if isinstance(model, Classifier):
            opened(model, threshold)
        self._model, self._threshold, self._workers, self._device = model, threshold, workers, device
        self._columns = Columns(prompt, response, messages, text, system)
        self._opened: Classifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        # subtle: `datasets` knows a function by its pickle, so that must be the same before and after the first batch.
        return self.__dict__ | {"_opened": None}

    def __call__(self, batch: Any) -> Any:
        """Judge one batch.

        Args:
            batch: A batch of `datasets`, a mapping of column names to values (lists, arrays), a pandas or polars
                frame, or anything that has Arrow's C interface.

        Returns:
            For a mapping a dictionary of the verdict's columns alone, as lists; otherwise the batch with them.

        Raises:
            DataError: It is no such batch, or a column is not there.
        """
        # subtle: `datasets` takes the type of a column from its first batch. Errors are null there as a rule, which a
        # list can't say the type of, but an Arrow table can; its batches have one.
        table = getattr(batch, "pa_table", None)
        if isinstance(batch, Mapping) and table is None:
            return self._mapping(batch).lists()
        return scored(batch if table is None else table, self._columns, self._classifier, self._workers)

    def each(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Judge batches one by one, as they come: the shape of function that Spark's `mapInPandas` asks for."""
        return map(self, batches)

    def _mapping(self, batch: Mapping[str, Any]) -> Scored:
        cells = {name: plain(batch[name]) for name in self._columns.wanted(list(batch))}
        made = Scored(len(next(iter(cells.values()))))
        made.fill(0, judge(self._classifier(), self._columns, cells, self._workers))
        return made

    def _classifier(self) -> Classifier:
        if self._opened is None:
            self._opened = opened(self._model, self._threshold, device=self._device)
        return self._opened
