"""Logits from memory are those that the session gave, and memory is bounded."""

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from demur._remember import Remembering
from demur.testing import FakeSession


def _text(*ids: int) -> np.ndarray:
    return np.array([ids], np.int64)


def test_a_text_is_run_once_as_long_as_it_is_remembered() -> None:
    session = FakeSession(lambda ids: ids[0] / 10)
    remembering = Remembering(session, 2)
    first = remembering.run(_text(1))
    assert np.array_equal(remembering.run(_text(1)), first)
    assert len(session.seen) == 1
    remembering.run(_text(2))
    remembering.run(_text(1))  # asked for last, so that it is the other one that goes
    remembering.run(_text(3))
    remembering.run(_text(1))
    assert len(session.seen) == 3
    remembering.run(_text(2))
    assert len(session.seen) == 4


def test_texts_that_differ_in_length_alone_are_told_apart() -> None:
    remembering = Remembering(FakeSession(lambda ids: len(ids) / 10), 9)
    assert not np.array_equal(remembering.run(_text(0)), remembering.run(_text(0, 0)))


def test_texts_that_share_a_run_are_not_remembered() -> None:
    session = FakeSession(lambda ids: 0.5)
    remembering = Remembering(session, 9)
    for _ in range(2):
        remembering.run(np.zeros((2, 3), np.int64), np.ones((2, 3), np.int64))
    assert len(session.seen) == 2
    assert remembering.masked


def test_a_text_that_several_threads_ask_for_is_run_by_one_of_them() -> None:
    all_here = threading.Barrier(4)

    def slowly(ids: list[int]) -> float:
        time.sleep(0.05)
        return 0.5

    session = FakeSession(slowly)
    remembering = Remembering(session, 9)

    def ask(_: int) -> np.ndarray:
        all_here.wait()
        return remembering.run(_text(1, 2))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(session.seen) == 1
    assert all(np.array_equal(one, found[0]) for one in found)


def test_a_run_that_fails_leaves_its_text_to_the_next_one_who_asks() -> None:
    times = iter([ValueError("no"), 0.5])

    def score(ids: list[int]) -> float:
        now = next(times)
        if isinstance(now, Exception):
            raise now
        return now

    remembering = Remembering(FakeSession(score), 9)
    with pytest.raises(ValueError, match="no"):
        remembering.run(_text(1))
    assert remembering.run(_text(1)).shape == (1, 2)


def test_more_texts_than_are_remembered_get_their_own_logits() -> None:
    session = FakeSession(lambda ids: ids[0] / 1000)
    remembering, chance = Remembering(session, 100), np.random.default_rng(0)
    for i in chance.zipf(1.3, 5000) % 1000:
        score = i / 1000
        low, high = remembering.run(_text(i))[0]
        assert 1 / (1 + np.exp(low - high)) == pytest.approx(score, abs=1e-4)
    assert 1000 < len(session.seen) < 4000


def test_half_as_many_texts_as_are_remembered_are_nearly_all_there() -> None:
    session = FakeSession(lambda ids: 0.5)
    remembering = Remembering(session, 1 << 12)
    for _ in range(2):
        for i in range(1 << 11):
            remembering.run(_text(i))
    assert len(session.seen) < 1.06 * (1 << 11)


class _Wide:
    """A session whose logits are a part of a large array, and that keeps nothing."""

    masked = False

    def run(self, token_ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        return np.zeros((1000, 2), np.float32)[:1]


def test_memory_is_bounded_in_bytes_whatever_the_texts_lengths() -> None:
    remembering = Remembering(_Wide(), 1000)
    tracemalloc.start()
    try:
        for i in range(3000):
            remembering.run(np.full((1, 512), i, np.int64))
        assert tracemalloc.get_traced_memory()[0] < 1000 * 24 + 4000
    finally:
        tracemalloc.stop()
