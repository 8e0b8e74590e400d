"""Many items through one function: in order, in parallel, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Items in flight for each worker: enough that a worker never waits for a slow neighbour at the head of the line.
_AHEAD = 8


def ordered_map(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    """Yield `function(item)` for every item, in the items' order, computed by `workers` threads.

    Items are taken from the caller's thread, at most `8 * workers` ahead of the results. When the source
    fails, the results of all items before the failure come first. Closing the iterator drops what is in flight.

    Args:
        function: Called from several threads at once.
        items: Any iterable, of any length.
        workers: Number of threads, at least 1; with 1 everything happens in the caller's thread.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    return map(function, items) if workers == 1 else _threaded(function, items, workers)


def _threaded(function: Callable[[_In], _Out], items: Iterable[_In], workers: int) -> Iterator[_Out]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="demur")
    pending: deque[Future[_Out]] = deque()
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
            pending.append(pool.submit(function, item))
            while pending and (pending[0].done() or len(pending) >= _AHEAD * workers):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
