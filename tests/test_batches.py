"""Texts that share runs, as on a GPU: who shares, what is padded, and that verdicts are those of each text alone."""

import io
import json
import math
import pickle
from collections.abc import Iterator
from functools import partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from _streams import score_file
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from demur import Classifier, Verdict, _batches, _bundle
from demur._assemble import assemble
from demur._stream import in_windows
from demur.errors import EmptyResponseError, InputError
from demur.testing import FakeSession

LENGTHS = st.lists(st.integers(1, 600), max_size=50)
SORRY = {"prompt": "Help me.", "response": "Sorry, no."}
ROWS: list[Any] = [SORRY, {"prompt": "2+2?", "response": "4 " * 50}, "x", {"prompt": "Hm?", "response": "word " * 20}]


def _score(ids: list[int]) -> float:
    """A score that tells texts apart and notices a token too many."""
    return (sum(ids) * 31 + len(ids)) % 997 / 997


class Unpadded(FakeSession):
    """A session whose graph takes no mask."""

    masked = False

    def run(self, token_ids: NDArray[np.int64], mask: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        assert mask is None
        return super().run(token_ids)


def _open(sessions: list[FakeSession], kind: type[FakeSession], threads: int) -> FakeSession:
    sessions.append(kind(_score))
    return sessions[-1]


def _classifier(run_tokens: int | None, kind: type[FakeSession] = FakeSession) -> tuple[Classifier, list[FakeSession]]:
    sessions: list[FakeSession] = []
    opened = partial(_open, sessions, kind)
    bundle = _bundle.read(_bundle.find(None))
    return assemble(bundle, opened, threads=1, threshold=0.5, run_tokens=run_tokens), sessions


@given(LENGTHS, st.integers(1, 2000), st.booleans())
def test_every_text_is_in_one_run_and_runs_keep_the_budget(lengths: list[int], budget: int, padded: bool) -> None:
    runs = _batches.plan(lengths, budget, padded=padded)
    assert sorted(place for run in runs for place in run) == list(range(len(lengths)))
    for run in runs:
        assert len(run) == 1 or max(lengths[place] for place in run) * len(run) <= budget
        assert padded or len({lengths[place] for place in run}) == 1


@given(LENGTHS, st.integers(1, 2000))
def test_neighbours_by_length_share_a_run_and_the_longest_come_first(lengths: list[int], budget: int) -> None:
    in_order = [lengths[place] for run in _batches.plan(lengths, budget, padded=True) for place in run]
    assert in_order == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 2000))
def test_no_text_runs_alone_that_had_room_in_the_run_before(lengths: list[int], budget: int) -> None:
    runs = _batches.plan(lengths, budget, padded=True)
    for before, _ in pairwise(runs):
        assert lengths[before[0]] * (len(before) + 1) > budget


def test_padding_stands_behind_and_the_mask_says_where() -> None:
    ids, mask = _batches.pad([[5, 6, 7], [8]])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_texts_of_one_length_need_no_mask() -> None:
    ids, mask = _batches.pad([[1, 2], [3, 4]])
    assert (ids.tolist(), mask) == ([[1, 2], [3, 4]], None)


@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=20), max_size=30), st.integers(1, 100))
@pytest.mark.parametrize("kind", [FakeSession, Unpadded])
def test_each_text_gets_its_own_logits_in_the_texts_order(
    kind: type[FakeSession], texts: list[list[int]], budget: int
) -> None:
    found = _batches.logits(kind(_score), texts, budget)
    expected = [kind(_score).run(np.array([text]))[0].tolist() for text in texts]
    assert found == expected


@pytest.mark.parametrize("kind", [FakeSession, Unpadded])
@pytest.mark.parametrize("run_tokens", [1, 100, 100_000])
def test_a_stream_gives_the_verdicts_of_texts_alone(run_tokens: int, kind: type[FakeSession]) -> None:
    alone, shared = _classifier(None)[0], _classifier(run_tokens, kind)[0]
    rows = ROWS * 200  # more than a window
    assert list(shared.stream(rows, workers=2)) == [alone.judge_row(row) for row in rows]


def test_texts_do_share_runs() -> None:
    model, (session,) = _classifier(100_000)
    assert len(list(model.stream(ROWS * 10, workers=1))) == 40
    assert [len(run) for run in session.seen] == [40]


def test_an_error_stands_in_its_place() -> None:
    model, _ = _classifier(1000)
    found = list(model.stream([SORRY, "", SORRY], workers=1, errors="return"))
    assert [type(one) for one in found] == [Verdict, EmptyResponseError, Verdict]
    with pytest.raises(InputError, match="conversation 1: "):
        list(model.stream([SORRY, "", SORRY], workers=1))


def test_a_pickled_copy_shares_runs_too() -> None:
    bundle = _bundle.read(_bundle.find(None))
    model = assemble(bundle, partial(_open, [], FakeSession), threads=1, threshold=0.5, run_tokens=7)
    assert pickle.loads(pickle.dumps(model)).shares_runs


def _failing(good: int) -> Iterator[int]:
    yield from range(good)
    raise OSError("the disk is gone")


@given(st.integers(0, 20), st.integers(1, 8))
def test_when_the_source_fails_earlier_results_come_first(good: int, size: int) -> None:
    results = in_windows(lambda window: [-i for i in window], _failing(good), size)
    assert list(islice(results, good)) == [-i for i in range(good)]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


@given(st.lists(st.integers(), max_size=40), st.integers(1, 8))
def test_windows_equal_map_and_are_no_larger_than_asked(items: list[int], size: int) -> None:
    sizes: list[int] = []

    def function(window: Any) -> list[int]:
        sizes.append(len(window))
        return [i * 2 for i in window]

    assert list(in_windows(function, items, size)) == [i * 2 for i in items]
    assert max(sizes, default=0) <= size
    assert len(sizes) == math.ceil(len(items) / size)


def test_score_writes_the_same_lines_whether_texts_share_runs_or_not() -> None:
    lines = [json.dumps(row).encode() for row in ROWS if isinstance(row, dict)] + [b"oops", b'{"response": ""}', b"[1]"]
    outputs, tallies = [], []
    for run_tokens in (None, 1000):
        target = io.BytesIO()
        source = io.BytesIO(b"\n".join(lines * 3))
        tallies.append(score_file(_classifier(run_tokens)[0], source, target, workers=1, turns="last"))
        outputs.append(target.getvalue())
    assert outputs[0] == outputs[1]
    assert tallies[0] == tallies[1]
    assert (tallies[0].lines, tallies[0].failed) == (18, 9)
