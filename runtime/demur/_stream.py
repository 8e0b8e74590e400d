"""Many items through one function: in order, in parallel, in bounded memory."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from demur.errors import InputError

if TYPE_CHECKING:
    # subtle: imported where it is used, since one text needs none of it and it would be a seventh of demur's own start.
    from concurrent.futures import Future, ThreadPoolExecutor

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Items in flight for each worker: enough that a worker never waits for a slow neighbour at the head of the line.
_AHEAD = 8
# Bytes of items in flight, of which one may be longer.
_BYTES = 1 << 24


def ordered_map(
    function: Callable[[_In], _Out],
    items: Iterable[_In],
    workers: int,
    *,
    live: bool = False,
    size: Callable[[_In], int] | None = None,
) -> Iterator[_Out]:
    """Yield `function(item)` for every item, in the items' order, computed by `workers` threads.

    At most `8 * workers` items are taken ahead of the results. When the source fails, the results of all items
    before the failure come first. Closing the iterator drops what is in flight.

    Args:
        function: Called from several threads at once.
        items: Any iterable, of any length.
        workers: Number of threads, at least 1; with 1 everything happens in the caller's thread.
        live: Take items in a thread of their own, so that a result never waits for the next item of a slow source.
            Otherwise they are taken in the caller's thread, as iterators that belong to a thread need it.
        size: How many bytes an item takes; where it is given, fewer items are taken ahead if they are large.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    if workers == 1:
        return (function(item) for item in items)
    return _live(function, items, workers) if live else _threaded(function, items, workers, size)


def in_windows(function: Callable[[Sequence[_In]], Sequence[_Out]], items: Iterable[_In], size: int) -> Iterator[_Out]:
    """Yield what `function` makes of the items, `size` of them at a time, in the items' order.

    When the source fails, the results of all items before the failure come first.

    Args:
        function: Returns one result for each item.
        items: Any iterable, of any length.
        size: Items taken ahead of their results.
    """
    source = iter(items)
    while True:
        window: list[_In] = []
        failure: Exception | None = None
        try:
            for item in islice(source, size):
                window.append(item)
        except Exception as error:
            failure = error
        yield from function(window) if window else ()
        if failure is not None:
            raise failure
        if not window:
            return


def or_error(function: Callable[[_In], _Out], item: _In) -> _Out | InputError:
    """Return `function(item)`, or the error that it raised because the item can't be scored."""
    try:
        return function(item)
    except InputError as error:
        return error


def raising(results: Iterator[_Out | InputError]) -> Iterator[_Out]:
    """Yield the results up to the first error, and raise that with its place."""
    for i, result in enumerate(results):
        if isinstance(result, InputError):
            raise type(result)(f"conversation {i}: {result}") from result
        yield result


def _threaded(
    function: Callable[[_In], _Out], items: Iterable[_In], workers: int, size: Callable[[_In], int] | None
) -> Iterator[_Out]:
    pool = _pool(workers)
    pending: deque[tuple[Future[_Out], int]] = deque()
    held = 0
    source = iter(items)
    failure: Exception | None = None
    try:
        while True:
            try:
                item = next(source)
            except StopIteration:
                break
            except Exception as error:
                failure = error
                break
            weight = size(item) if size else 0
            held += weight
            pending.append((pool.submit(function, item), weight))
            del item
            while pending and (pending[0][0].done() or len(pending) >= _AHEAD * workers or held > _BYTES):
                future, weight = pending.popleft()
                held -= weight
                yield future.result()
                del future
        while pending:
            yield pending.popleft()[0].result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _live(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    import queue
    from concurrent.futures import Future

    pool, stopped = _pool(workers), threading.Event()
    pending: queue.Queue[Future[_Out] | None] = queue.Queue(_AHEAD * workers)

    def feed() -> None:
        try:
            for item in items:
                if stopped.is_set():
                    return
                pending.put(pool.submit(function, item))
        except Exception as error:
            failed: Future[_Out] = Future()
            failed.set_exception(error)
            pending.put(failed)
        pending.put(None)

    # A source that blocks forever can't be interrupted; a daemon does not keep the process alive for it.
    threading.Thread(target=feed, name="demur-feed", daemon=True).start()
    try:
        while (future := pending.get()) is not None:
            yield future.result()
    finally:
        stopped.set()
        with contextlib.suppress(queue.Empty):
            while True:  # make room for a feeder that waits to put
                pending.get_nowait()
        pool.shutdown(wait=True, cancel_futures=True)


def _pool(workers: int) -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers, thread_name_prefix="demur")
