"""What a report counts with: intervals, and buckets that stay few."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur._report._rates import Rate
from demur._report._series import Positions, Times, seconds


@pytest.mark.parametrize(
    ("refusals", "replies", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_the_published_ones(refusals: int, replies: int, low: float, high: float) -> None:
    assert Rate(replies, refusals).interval() == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_an_interval_holds_its_rate(counts: tuple[int, int]) -> None:
    found = Rate(*counts).to_dict()
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1


@given(st.lists(st.booleans(), max_size=700))
def test_positions_lose_no_reply_and_stay_few(refusals: list[bool]) -> None:
    positions = Positions()
    for refusal in refusals:
        positions.add(refusal)
    buckets = positions.to_list()
    assert len(buckets) <= 60
    assert [bucket["from"] for bucket in buckets] == [1, *(bucket["to"] + 1 for bucket in buckets)][: len(buckets)]
    for bucket in buckets:
        assert bucket["refusals"] == sum(refusals[bucket["from"] - 1 : bucket["to"]])
    assert sum(bucket["replies"] for bucket in buckets) == len(refusals)


@given(st.lists(st.tuples(st.floats(0, 253_402_214_399), st.booleans()), max_size=300), st.randoms())
def test_times_lose_no_reply_in_any_order(replies: list[tuple[float, bool]], shuffler: object) -> None:
    ordered, shuffled = Times(), Times()
    for reply in sorted(replies):
        ordered.add(*reply)
    shuffler.shuffle(replies)  # type: ignore[attr-defined]
    for reply in replies:
        shuffled.add(*reply)
    assert shuffled.to_list() == ordered.to_list()
    assert sum(bucket["replies"] for bucket in ordered.to_list()) == len(replies)


def test_times_over_years_are_kept_in_bounded_memory() -> None:
    times = Times()
    for minute in range(0, 4 * 365 * 24 * 60, 97):
        times.add(minute * 60.0, minute % 2 == 0)
    assert len(times._buckets) <= 4096
    buckets = times.to_list()
    assert 20 <= len(buckets) <= 60
    assert sum(bucket["replies"] for bucket in buckets) == len(range(0, 4 * 365 * 24 * 60, 97))


def test_an_hour_is_told_by_the_minute() -> None:
    times = Times()
    for minute in range(40):
        times.add(3600.0 + 60 * minute, False)
    assert [bucket["from"] for bucket in times.to_list()][:2] == ["1970-01-01T01:00Z", "1970-01-01T01:01Z"]


@pytest.mark.parametrize(
    "value",
    [
        "2024-03-01T12:00:00Z",
        "2024-03-01T14:00:00+02:00",
        "2024-03-01 12:00:00",
        1709294400,
        1709294400.0,
        "1709294400",
        1709294400_000,
        1709294400_000_000,
        1709294400_000_000_000,
        datetime(2024, 3, 1, 12),
        datetime(2024, 3, 1, 12, tzinfo=UTC),
        datetime(2024, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_read_as_people_write_them(value: object) -> None:
    assert seconds(value) == pytest.approx(1709294400)


@given(st.none() | st.booleans() | st.text() | st.floats() | st.integers() | st.datetimes() | st.binary())
def test_anything_else_is_no_time(value: object) -> None:
    found = seconds(value)
    assert found is None or (math.isfinite(found) and 0 <= found < 253_402_214_400)
