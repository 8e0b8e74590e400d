"""How far a run is: a bar on a terminal, or lines of JSON."""

import json
import sys
import time
from typing import Literal

from tqdm import tqdm

from demur._bulk._packing import Consumed
from demur._bulk._route import Tally

_SECONDS = 1.0


class Progress:
    """Shows rows, rate, time left, refusals and errors on standard error.

    How many rows there are is estimated from the bytes read, since to count them would mean to read everything twice.

    Args:
        kind: `bar` (on a terminal only), `json` or `none`.
        consumed: How much has been read.
        total: How many bytes there are to read, if that is known.
    """

    def __init__(self, kind: Literal["bar", "json", "none"], consumed: Consumed, total: int | None) -> None:
        self._json, self._consumed, self._total = kind == "json", consumed, total
        hidden = kind != "bar" or not sys.stderr.isatty()
        self._bar = tqdm(unit=" rows", disable=hidden, mininterval=0.5)
        self._began = self._shown = time.monotonic()
        self._before = 0

    def begin(self, tally: Tally) -> None:
        """Begin to measure the rate, behind the rows that were done before."""
        self._began, self._before = time.monotonic(), tally.lines

    def update(self, tally: Tally) -> None:
        """Show how far it is, now and then."""
        if not self._bar.disable:
            self._bar.update(tally.lines - self._bar.n)
        elif not self._json:
            return
        now = time.monotonic()
        if now - self._shown >= _SECONDS:
            self._shown = now
            self._show(tally, self._expected(tally.lines))

    def close(self, tally: Tally, *, whole: bool) -> None:
        """Show the end.

        Args:
            tally: What was done.
            whole: Whether that is all.
        """
        if self._json or not self._bar.disable:
            self._show(tally, tally.lines if whole else self._expected(tally.lines))
        self._bar.close()

    def _expected(self, rows: int) -> int | None:
        if not self._total or not self._consumed.done:
            return None
        return max(rows, round(rows * self._total / self._consumed.done))

    def _show(self, tally: Tally, total: int | None) -> None:
        if self._json:
            self._line(tally, total)
        else:
            self._bar.update(tally.lines - self._bar.n)
            self._bar.total = total
            self._bar.set_postfix(refusals=tally.refusals, errors=tally.failed)

    def _line(self, tally: Tally, total: int | None) -> None:
        seconds = time.monotonic() - self._began
        rate = (tally.lines - self._before) / seconds if seconds > 0 else 0.0
        told = {
            "rows": tally.lines,
            "total": total,
            "rate": round(rate, 1),
            "seconds_left": round((total - tally.lines) / rate, 1) if total is not None and rate else None,
            "refusals": tally.refusals,
            "errors": tally.failed,
        }
        print(json.dumps(told), file=sys.stderr, flush=True)
