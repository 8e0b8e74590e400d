"""All numbers of a report, counted while the rows go by, in bounded memory."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import demur
from demur._paths import get
from demur._report._examples import Examples
from demur._report._items import Item
from demur._report._parser import TIMES
from demur._report._rates import Rate
from demur._report._series import Positions, Times, seconds
from demur.errors import InputError

BINS = 20
# Different values of a column, or reasons, that are told apart, and characters of each.
_VALUES, _REASONS, _LONG = 1000, 100, 100
OTHERS, MISSING = "(others)", "(none)"


class Tally:
    """The numbers of a report.

    Args:
        by: Columns to give the rate for each value of; `a.b` is the key b within a.
        time: The column that has a row's time; by default one of the usual names, if the first row has it.
        examples: Keeps the replies that are worth a look.
    """

    def __init__(self, by: Sequence[str], time: str | None, examples: Examples) -> None:
        self._overall, self._examples = Rate(), examples
        self._by: dict[str, dict[str, Rate]] = {column: {} for column in by}
        self._failed_by: dict[str, dict[str, int]] = {column: {} for column in by}
        self._time, self._undated, self._first = time, 0, True
        self._times, self._positions = Times(), Positions()
        self._reasons: dict[str, int] = {}
        self._failed, self._elided = 0, 0
        self._histogram = [Rate() for _ in range(BINS)]
        self._lengths: dict[int, list[Rate]] = {}
        self._models: dict[str, int] = {}
        self._thresholds: dict[str, int] = {}

    @property
    def columns(self) -> list[str]:
        """The columns that are looked at, beside the conversation and its verdict."""
        return [*self._by, *([self._time] if self._time else TIMES)]

    def add(self, item: Item) -> None:
        """Count one item."""
        if self._first:
            self._first = False
            self._time = self._time or next((name for name in TIMES if name in item.row), None)
        values = {column: _value(_at(item.row, column)) for column in self._by}
        if item.error is not None:
            self._failed += 1
            _count(self._reasons, item.error[:_LONG], _REASONS)
            for column, value in values.items():
                _count(self._failed_by[column], value, _VALUES)
            return
        self._overall.add(item.refusal)
        self._elided += item.elided > 0
        for column, value in values.items():
            rates = self._by[column]
            rates.setdefault(value if value in rates or len(rates) < _VALUES else OTHERS, Rate()).add(item.refusal)
        bin = min(int(item.score * BINS), BINS - 1)
        self._histogram[bin].add(item.refusal)
        octave = min((item.tokens + item.elided).bit_length(), 32)
        self._lengths.setdefault(octave, [Rate() for _ in range(BINS)])[bin].add(item.refusal)
        self._positions.add(item.refusal)
        if self._time is not None:
            moment = seconds(_at(item.row, self._time))
            if moment is None:
                self._undated += 1
            else:
                self._times.add(moment, item.refusal)
        _count(self._models, item.model or "", _REASONS)
        _count(self._thresholds, "" if item.threshold is None else f"{item.threshold:g}", _REASONS)
        self._examples.add(item)

    def to_dict(self, files: Sequence[str]) -> dict[str, Any]:
        """Return the numbers, fit for JSON."""
        dated = self._overall.replies - self._undated if self._time is not None else 0
        return {
            "demur": demur.__version__,
            "files": list(files),
            "models": sorted(filter(None, self._models)),
            "thresholds": sorted(filter(None, self._thresholds)),
            "overall": self._overall.to_dict(),
            "elided": self._elided,
            "errors": {"rows": self._failed, "reasons": _most_first(self._reasons)},
            "by": {column: self._groups(column) for column in self._by},
            "over": {
                "kind": "time" if dated else "position",
                "column": self._time if dated else None,
                "undated": self._undated if dated else 0,
                "buckets": (self._times if dated else self._positions).to_list(),
            },
            "histogram": [
                {"from": i / BINS, "to": (i + 1) / BINS, **_counts(r)} for i, r in enumerate(self._histogram)
            ],
            "lengths": [
                {
                    "from": 1 << octave >> 1,
                    "to": (1 << octave) - 1,
                    **_sum(rates).to_dict(),
                    "scores": [r.replies for r in rates],
                }
                for octave, rates in sorted(self._lengths.items())
            ],
        }

    def _groups(self, column: str) -> list[dict[str, Any]]:
        rates, failed = self._by[column], self._failed_by[column]
        values = sorted({**rates, **failed}, key=lambda value: (-rates.get(value, Rate()).replies, value))
        return [{"value": v, **rates.get(v, Rate()).to_dict(), "errors": failed.get(v, 0)} for v in values]


def _count(counts: dict[str, int], key: str, most: int) -> None:
    key = key if key in counts or len(counts) < most else OTHERS
    counts[key] = counts.get(key, 0) + 1


def _most_first(reasons: Mapping[str, int]) -> list[dict[str, Any]]:
    ordered = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    return [{"reason": reason, "rows": rows} for reason, rows in ordered]


def _counts(rate: Rate) -> dict[str, int]:
    return {"replies": rate.replies, "refusals": rate.refusals}


def _sum(rates: Iterable[Rate]) -> Rate:
    total = Rate()
    for rate in rates:
        total.take(rate)
    return total


def _at(row: Mapping[str, Any], column: str) -> Any:
    """What a row has in a column, or at a path; None if there is nothing."""
    try:
        return get(row, column)
    except InputError:
        return None


def _value(value: Any) -> str:
    if value is None or value == "":
        return MISSING
    if isinstance(value, str | int | float | bool):
        return str(value)[:_LONG]
    try:
        return json.dumps(value, ensure_ascii=False, default=str)[:_LONG]
    except (ValueError, RecursionError):
        return f"({type(value).__name__})"
