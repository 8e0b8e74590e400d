"""Parquet files, a few rows at a time, in as little memory as their longest row takes."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from demur import _machine
from demur._bulk._arrow_array import array
from demur._extras import need

# Rows that are read together: so many, or fewer where they are long. Few, as their lengths may be very uneven.
ROWS, _BYTES = 64, 1 << 20
_BUFFER = 1 << 20
# Bytes of a batch that is long, and of a row group's beginning that may be read once more for each of them.
_LONG, _AGAIN = 1 << 24, 1 << 28


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[Any, int]]:
    """Yield record batches of a file, and how many of its bytes each takes on the disk, about.

    Args:
        path: The file.
        columns: Those to read; all if None.

    Raises:
        DataExtraError: pyarrow is not installed.
    """
    with _opened(path) as file:
        metadata = file.metadata
    total, on_disk = max(1, metadata.num_rows), path.stat().st_size
    for group in range(metadata.num_row_groups):
        about = metadata.row_group(group)
        each = about.total_byte_size // max(1, about.num_rows) + 1
        rows = max(1, min(ROWS, _BYTES // each))
        start: int | None = 0
        while start is not None:
            if about.total_byte_size > _LONG:
                # Some 20 MB lie in small pieces, and for a long text pyarrow needs four times its size in large ones.
                _machine.give_back()
            long, start = yield from _group(path, columns, group, rows, start, on_disk / total)
            if long is not None:
                _machine.give_back()
                yield from ((row, round(on_disk / total)) for row in _parted(long))
                del long


def _group(
    path: Path, columns: Sequence[str] | None, group: int, rows: int, start: int, each: float
) -> Generator[tuple[Any, int], None, tuple[Any, int | None]]:
    """Yield a row group's batches from one on, up to the first that is long.

    A reader holds a long text in its page and in its dictionary until the row group ends. So it is closed behind such
    a batch, and the group read anew, where there isn't much before it to be read twice.

    Returns:
        The long batch and the number of the one behind it, or nothing at the group's end.
    """
    read = 0
    with _opened(path) as file:
        found = file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        for number, batch in enumerate(found):
            size = batch.nbytes
            if number >= start:
                if size > _LONG and read < _AGAIN:
                    return batch, number + 1
                yield batch, round(each * batch.num_rows)
            read += size
            del batch  # subtle: else two are held while the next one is read
    return None, None


def _parted(batch: Any) -> Iterator[Any]:
    """Yield the rows of a long batch one by one, so that the short ones don't hold on to the long ones."""
    first = array([0], need("pyarrow", "data", "a Parquet file").int64())
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        yield row if row.nbytes > _LONG else row.take(first)


def _opened(path: Path) -> Any:
    # subtle: without a buffer, and with reading ahead, whole column chunks come into memory; a file of one row group
    # would be there as a whole.
    parquet = need("pyarrow.parquet", "data", "a Parquet file")
    return parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
