"""One job: files in, scored files out, through Ray Data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from pyarrow import fs

from demur._ray import _actor, _lines, _tables
from demur._ray._sink import Counts, Folder
from demur._tables._columns import Columns
from demur.errors import DataError

_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson.gz": "jsonl",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
}
# Rows that an actor judges at a time, and bytes of rows that it is given at a time: the latter are what is done again
# when it dies, some thousand rows and a minute or two.
_BATCH, _BLOCK = 64, 4 << 20
# subtle: the actors may hold every CPU of the cluster; what reads and writes would then wait for one forever.
_BESIDE: dict[str, Any] = {"num_cpus": 0}


def run(
    inputs: Sequence[str],
    output: str,
    scorer: type,
    *,
    model: _actor.Model,
    threshold: float | str | None,
    columns: Columns,
    actors: int | None,
    cpus: float,
    filesystem: fs.FileSystem | None,
) -> Counts:
    """Score files into a folder, as `demur.ray.score_with_ray` describes; Ray is running.

    Args:
        inputs: The files.
        output: The folder.
        scorer: The class that scores a batch of a table.
        model: Its model.
        threshold: The score from which a reply counts as a refusal.
        columns: Where the conversation is.
        actors: How many; by default as many as the cluster has CPUs for.
        cpus: CPUs of each.
        filesystem: Where the paths are; by default each path says so.

    Raises:
        DataError: An input is not there or of an unknown kind, or the output is there already.
    """
    if filesystem is None:
        filesystem, output = _resolved(output)
        inputs = [_resolved(name)[1] for name in inputs]
    format = _format(filesystem, inputs)
    sink = Folder(filesystem, output, format)
    actors = actors or max(1, int(ray.cluster_resources().get("CPU", 1) // cpus))
    pool: dict[str, Any] = {"compute": ray.data.ActorPoolStrategy(size=actors), "num_cpus": cpus}
    pool |= {"batch_size": _BATCH, "batch_format": "pyarrow"}
    with _ordered():
        if format == "jsonl":
            rows = _lines.dataset(filesystem, inputs, 8 * actors)
            scored = rows.map_batches(_lines.LineScorer, fn_constructor_args=(model, threshold), **pool)
        else:
            rows = _tables.dataset(filesystem, inputs, format, columns)
            named: dict[str, Any] = {"threshold": threshold, **vars(columns)}
            scored = rows.map_batches(scorer, fn_constructor_args=(model,), fn_constructor_kwargs=named, **pool)
        scored.write_datasink(sink, ray_remote_args=_BESIDE, concurrency=2)
    return sink.counts


def _resolved(name: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path in it of an address such as `s3://bucket/rows.parquet`, or of a local path."""
    if "://" not in name:
        return fs.LocalFileSystem(), str(Path(name).absolute())
    filesystem, path = fs.FileSystem.from_uri(name)
    return filesystem, path


def _format(filesystem: fs.FileSystem, inputs: Sequence[str]) -> str:
    found = {}
    for name in inputs:
        ending = "".join(Path(name).suffixes[-2:] if name.endswith(".gz") else Path(name).suffixes[-1:])
        if ending not in _ENDINGS:
            raise DataError(f"{name}: ends in {ending or 'nothing'!r}, expected one of {', '.join(_ENDINGS)}")
        if filesystem.get_file_info(name).type != fs.FileType.File:
            raise DataError(f"{name}: there is no such file")
        found[_ENDINGS[ending]] = name
    if len(found) != 1:
        raise DataError(f"the inputs are of several kinds ({', '.join(found)}), or there are none; score one at a time")
    return next(iter(found))


@contextmanager
def _ordered() -> Iterator[None]:
    """Keep the order of rows, hand them over in small blocks, and draw no bars."""
    context = ray.data.DataContext.get_current()
    before = context.execution_options.preserve_order, context.enable_progress_bars, context.target_max_block_size
    context.execution_options.preserve_order, context.enable_progress_bars = True, False
    context.target_max_block_size = _BLOCK
    try:
        yield
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars, context.target_max_block_size = before
