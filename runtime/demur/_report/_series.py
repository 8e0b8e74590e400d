"""The refusal rate along a file or along time, in a bounded number of buckets."""

import math
from datetime import UTC, datetime
from typing import Any

from demur._report._rates import Rate

_MOST = 60
# Seconds: a minute, an hour, a day, a week, thirty days, 365 days.
_UNITS = (60, 3600, 86_400, 604_800, 2_592_000, 31_536_000)
# Buckets that are kept while reading, before they are made coarser.
_KEPT = 4096
# 9999-12-31 in seconds, and how large a number is milliseconds, microseconds or nanoseconds rather than seconds.
_LATEST, _FINER = 253_402_214_400.0, (1e11, 1e14, 1e17)


class Positions:
    """The rate by place in the input: neighbours share a bucket, twice as many whenever there are too many buckets."""

    def __init__(self) -> None:
        self._width, self._buckets = 1, [Rate()]

    def add(self, refusal: bool) -> None:
        """Count the next reply."""
        if self._buckets[-1].replies == self._width:
            if len(self._buckets) == _MOST:
                self._merge()
            self._buckets.append(Rate())
        self._buckets[-1].add(refusal)

    def _merge(self) -> None:
        for first, second in zip(self._buckets[::2], self._buckets[1::2], strict=True):
            first.take(second)
        self._buckets, self._width = self._buckets[::2], self._width * 2

    def to_list(self) -> list[dict[str, Any]]:
        """Return the buckets; `from` and `to` are places from 1, the last included."""
        ends = [(i * self._width, bucket) for i, bucket in enumerate(self._buckets) if bucket.replies]
        return [{"from": at + 1, "to": at + bucket.replies, **bucket.to_dict()} for at, bucket in ends]


class Times:
    """The rate by time, in any order of the input: buckets get coarser whenever there are too many."""

    def __init__(self) -> None:
        self._unit, self._buckets = 0, dict[int, Rate]()

    def add(self, seconds: float, refusal: bool) -> None:
        """Count a reply of a time in seconds since 1970."""
        self._buckets.setdefault(int(seconds // _UNITS[self._unit]), Rate()).add(refusal)
        if len(self._buckets) > _KEPT:
            self._coarsen()

    def _coarsen(self) -> bool:
        if self._unit + 1 == len(_UNITS):
            return False
        width, made = _UNITS[self._unit], dict[int, Rate]()
        self._unit += 1
        for place, bucket in self._buckets.items():
            made.setdefault(place * width // _UNITS[self._unit], Rate()).take(bucket)
        self._buckets = made
        return True

    def to_list(self) -> list[dict[str, Any]]:
        """Return the buckets; `from` and `to` are times in UTC, the latter not included."""
        while len(self._buckets) > _MOST and self._coarsen():
            pass
        width = _UNITS[self._unit]
        return [
            {"from": _iso(place * width), "to": _iso((place + 1) * width), **self._buckets[place].to_dict()}
            for place in sorted(self._buckets)
        ]


def seconds(value: object) -> float | None:
    """Return a time as seconds since 1970, None if it is none.

    Args:
        value: A `datetime`, a text in ISO 8601, or a number: seconds, or by its size milli-, micro- or nanoseconds.
    """
    if isinstance(value, str):
        value = _parsed(value.strip())
    if isinstance(value, datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        found = (aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        found = float(value)
        for limit in _FINER:
            found = found / 1000 if abs(float(value)) >= limit else found
    else:
        return None
    return found if 0 <= found < _LATEST else None


def _parsed(text: str) -> datetime | float | None:
    for parse in (datetime.fromisoformat, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return None


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(min(moment, _LATEST), UTC).strftime("%Y-%m-%dT%H:%MZ")
