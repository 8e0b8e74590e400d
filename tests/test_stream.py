"""Many items through one function: in order, in parallel, in bounded memory."""

import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._stream import ordered_map

both = pytest.mark.parametrize("workers", [1, 3])


class Counted(Iterator[int]):
    """0, 1, 2, … and how many were taken; fails instead of giving the number `fails_at`."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.taken = 0
        self._numbers, self._fails_at = count(), fails_at

    def __next__(self) -> int:
        number = next(self._numbers)
        if number == self._fails_at:
            raise OSError("the disk is gone")
        self.taken += 1
        return number


@given(st.lists(st.integers()), st.integers(1, 5))
def test_it_equals_map(items: list[int], workers: int) -> None:
    assert list(ordered_map(lambda i: i * 2, items, workers)) == [i * 2 for i in items]


@both
def test_order_is_kept_when_later_items_are_faster(workers: int) -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.02 if i % 3 == 0 else 0)
        return i

    assert list(ordered_map(slow_first, range(20), workers)) == list(range(20))


@both
def test_nothing_happens_before_the_first_result_is_asked_for(workers: int) -> None:
    source = Counted()
    ordered_map(str, source, workers)
    assert source.taken == 0


@both
def test_an_endless_source_gives_results_and_is_read_ahead_within_bounds(workers: int) -> None:
    source = Counted()
    results = ordered_map(lambda i: i, source, workers)
    for given_out in range(1, 200):
        next(results)
        assert source.taken <= given_out + 8 * workers


def test_a_slow_item_at_the_head_does_not_let_the_rest_run_away() -> None:
    gate = threading.Event()
    source = Counted()
    results = ordered_map(lambda i: gate.wait(10) if i == 0 else i, source, 3)
    threading.Timer(0.2, gate.set).start()
    assert next(results) is True
    assert source.taken == 24


def test_workers_work_side_by_side() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(ordered_map(lambda _: meeting.wait(), range(3), 3))) == 3


def test_one_worker_is_the_callers_own_thread() -> None:
    assert set(ordered_map(lambda _: threading.current_thread(), range(5), 1)) == {threading.current_thread()}


@both
def test_when_the_source_fails_earlier_results_come_first(workers: int) -> None:
    results = ordered_map(lambda i: i, Counted(fails_at=5), workers)
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


@both
def test_when_the_function_fails_its_error_stands_in_its_items_place(workers: int) -> None:
    results = ordered_map(lambda i: 1 // (i - 3), range(10), workers)
    assert list(islice(results, 3)) == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_error_ends_the_work() -> None:
    source = Counted()
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda i: 1 // (i - 3), source, 3))
    assert source.taken <= 4 + 24


def _close_early() -> int:
    """Take one result of an endless source, close, and return how many of the 24 items read ahead were begun."""
    source, begun = Counted(), []

    def work(i: int) -> int:
        begun.append(i)
        while i == 0 and source.taken < 24:
            time.sleep(0.001)
        time.sleep(0.05 if i else 0)
        return i

    results = ordered_map(work, source, 3)
    assert next(results) == 0
    del results  # the last reference: a generator is closed
    return len(begun)


def test_closing_early_drops_what_was_not_begun() -> None:
    assert _close_early() < 24


def test_closing_early_leaves_no_thread_behind() -> None:
    _close_early()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("demur")]


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_refused_at_once(workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers is {workers}; it must be at least 1"):
        ordered_map(str, [], workers)


def test_a_live_result_never_waits_for_the_next_item() -> None:
    read = threading.Event()

    def slow_source() -> Iterator[int]:
        yield 1
        assert read.wait(10), "the second item was asked for before the first result was given out"
        yield 2

    results = ordered_map(str, slow_source(), 2, live=True)
    assert next(results) == "1"
    read.set()
    assert list(results) == ["2"]


@given(st.lists(st.integers(), max_size=60), st.integers(2, 4))
def test_live_equals_map_too(items: list[int], workers: int) -> None:
    assert list(ordered_map(str, items, workers, live=True)) == [str(i) for i in items]


def test_a_live_source_that_fails_gives_what_came_before_it() -> None:
    results = ordered_map(str, Counted(fails_at=5), 2, live=True)
    assert list(islice(results, 5)) == ["0", "1", "2", "3", "4"]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_closing_a_live_iterator_stops_its_threads() -> None:
    source = Counted()
    results = ordered_map(str, source, 2, live=True)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("demur") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "a thread went on"
        time.sleep(0.01)
    assert source.taken < 100
