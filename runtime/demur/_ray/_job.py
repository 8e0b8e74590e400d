"""One job: files in, scored files out, through Ray Data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from pyarrow import fs

from demur._bulk import _formats
from demur._bulk._formats import Format
from demur._bulk._inputs import find
from demur._columns import Columns
from demur._ray import _actor, _lines, _tables
from demur._ray._sink import Counts, Folder
from demur.errors import DataError

_FORMATS = [Format("jsonl"), Format("jsonl", "gz"), Format("csv"), Format("csv", "gz"), Format("parquet")]
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
        inputs = _files(inputs)
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
            scored = rows.map_batches(_lines.LineScorer, fn_constructor_args=(model, threshold, columns), **pool)
        else:
            rows = _tables.dataset(filesystem, inputs, format)
            named: dict[str, Any] = {"threshold": threshold, **columns.named}
            arguments = (model,) if format == "parquet" else (scorer, model)
            chosen = scorer if format == "parquet" else _tables.CsvScorer
            scored = rows.map_batches(chosen, fn_constructor_args=arguments, fn_constructor_kwargs=named, **pool)
        scored.write_datasink(sink, ray_remote_args=_BESIDE, concurrency=2)
    return sink.counts


def _resolved(name: str) -> tuple[fs.FileSystem, str]:
    """The filesystem and the path in it of an address such as `s3://bucket/rows.parquet`, or of a local path."""
    if "://" not in name:
        return fs.LocalFileSystem(), str(Path(name).absolute())
    filesystem, path = fs.FileSystem.from_uri(name)
    return filesystem, path


def _files(inputs: Sequence[str]) -> list[str]:
    """Return the addresses as they are, and what local paths, folders and globs stand for, as `demur score` has it."""
    found = []
    for name in inputs:
        if "://" in name:
            found.append(name)
            continue
        for one in find([name]):
            if one.path is None:
                raise DataError("Ray reads files, not standard input; name them")
            if _formats.by_ending(one.name) not in (None, one.format):
                raise DataError(f"{one.name}: holds {one.format}; give it a name that ends in .{one.format}")
            found.append(str(one.path))
    return found


def _format(filesystem: fs.FileSystem, inputs: Sequence[str]) -> str:
    """Return the one format of all inputs, by their endings: what they hold is looked at where the work is done."""
    found = set()
    for name in inputs:
        format = _formats.by_ending(name)
        if format not in _FORMATS:
            raise DataError(f"{name}: Ray's engine reads what ends in {', '.join(f'.{one}' for one in _FORMATS)}")
        if filesystem.get_file_info(name).type != fs.FileType.File:
            raise DataError(f"{name}: no such file")
        found.add(format.name)
    if len(found) != 1:
        kinds = ", ".join(sorted(found))
        raise DataError(f"the inputs are of several kinds ({kinds}), or there are none; score one at a time")
    return found.pop()


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
