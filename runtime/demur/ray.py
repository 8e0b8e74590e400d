"""Scoring on a Ray cluster. It needs the `[ray]` extra: `pip install 'demur[ray]'`.

Example:
    import ray
    from demur.ray import RefusalScorer

    rows = ray.data.read_parquet("rows.parquet")
    # One CPU fewer than the cluster has: reading needs one too.
    pool = ray.data.ActorPoolStrategy(size=8)
    scored = rows.map_batches(RefusalScorer, compute=pool, num_cpus=1, batch_size=256, batch_format="pyarrow")
    scored.write_parquet("scored")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demur._columns import Columns
from demur._extras import need
from demur._tables._batch import BatchScorer
from demur.errors import DataError

need("ray.data", "ray", "demur.ray")

from demur._ray import _job  # noqa: E402  (it needs Ray)
from demur._ray._actor import Model, Shipped, found, ship, workers  # noqa: E402
from demur._ray._sink import Counts  # noqa: E402

__all__ = ["Counts", "RefusalScorer", "Shipped", "score_with_ray", "ship"]


class RefusalScorer:
    """Judges the last reply of every row of a batch; made to be passed to `ray.data.Dataset.map_batches`.

    Each actor opens one model, when its first batch comes, and judges as many texts at a time as it has CPUs.
    `demur.score_table` says what the columns are and which are added; a row that can't be scored gets a
    `demur_error` and stops nothing.

    Args:
        model: The name or folder of a bundle that every node has, a bundle that `ship` has put into the object store,
            or a classifier; by default the bundle that comes with demur.
        threshold: The score from which a reply counts as a refusal.
        prompt: The column of what the user asked.
        response: The column of what the assistant replied.
        messages: The column of messages.
        text: The column of conversations written in the model's template.
        system: The column of system prompts.
    """

    def __init__(
        self,
        model: Model = None,
        *,
        threshold: float | str | None = None,
        prompt: str | None = None,
        response: str | None = None,
        messages: str | None = None,
        text: str | None = None,
        system: str | None = None,
    ) -> None:
        opened, self._home = found(model)
        self._scorer = BatchScorer(
            opened,
            threshold=threshold,
            workers=workers(),
            prompt=prompt,
            response=response,
            messages=messages,
            text=text,
            system=system,
        )

    def __call__(self, batch: Any) -> Any:
        """Return a batch, a pyarrow table or a pandas frame, with the verdict's columns.

        Raises:
            DataError: It is a mapping of arrays, as Ray hands over if it is told nothing: these have no types for
                what is missing.
        """
        if isinstance(batch, Mapping):
            raise DataError("a batch is a mapping of arrays; pass batch_format='pyarrow' (or 'pandas') to map_batches")
        return self._scorer(batch)


def score_with_ray(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    model: Model = None,
    threshold: float | str | None = None,
    address: str | None = None,
    actors: int | None = None,
    cpus: float = 1,
    filesystem: Any = None,
    prompt: str | None = None,
    response: str | None = None,
    messages: str | None = None,
    text: str | None = None,
    system: str | None = None,
) -> Counts:
    """Score files into a folder on a Ray cluster, in order.

    The folder gets files `part-000000` and so on, and its name when all of them are whole. Lines of JSONL go out as
    they came in, with a `demur` object added, as `demur score` adds it; tables get the columns of `score_table`.

    Args:
        inputs: JSONL, CSV (both plain or `.gz`) or Parquet files, all of one format: files, folders and globs that
            every node can read, or addresses that pyarrow knows, such as `s3://bucket/rows.parquet`.
        output: A folder that is not there yet, likewise.
        model: What `RefusalScorer` takes.
        threshold: The score from which a reply counts as a refusal.
        address: The cluster's; by default the one that is connected, that `RAY_ADDRESS` names, or one that is started
            on this machine and ends with the job.
        actors: How many models; by default as many as the cluster has CPUs for.
        cpus: CPUs of each.
        filesystem: The pyarrow filesystem of all paths; by default each path says so.
        prompt: The column or key of what the user asked, or a path to it; likewise:
        response: The column of what the assistant replied.
        messages: The column of messages.
        text: The column of conversations written in the model's template.
        system: The column of system prompts.

    Returns:
        How many rows were written, are refusals, and could not be scored.

    Raises:
        DataError: An input is not there or of an unknown kind, or the output is there already.
    """
    import ray

    columns = Columns(prompt, response, messages, text, system)
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False)
    try:
        return _job.run(
            [str(name) for name in inputs],
            str(output),
            RefusalScorer,
            model=model,
            threshold=threshold,
            columns=columns,
            actors=actors,
            cpus=cpus,
            filesystem=filesystem,
        )
    finally:
        if ours:
            ray.shutdown()
