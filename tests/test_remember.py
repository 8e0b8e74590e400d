"""Logits from memory are those that the session gave, and memory is bounded."""

import numpy as np

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
