"""Refusal rates and how sure they are."""

import math
from dataclasses import dataclass
from typing import Any

# The normal distribution's quantile for 95 %, both sides.
_Z = 1.959964


@dataclass(slots=True)
class Rate:
    """How many of how many replies were refusals.

    Attributes:
        replies: How many were judged.
        refusals: How many of them were refusals.
    """

    replies: int = 0
    refusals: int = 0

    def add(self, refusal: bool) -> None:
        """Count one reply."""
        self.replies += 1
        self.refusals += refusal

    def take(self, other: "Rate") -> None:
        """Count all that another one counted."""
        self.replies += other.replies
        self.refusals += other.refusals

    def interval(self) -> tuple[float, float] | None:
        """Return Wilson's 95 % interval (E. B. Wilson, JASA 22, 1927), None without replies."""
        n = self.replies
        if not n:
            return None
        p = self.refusals / n
        middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
        half = _Z / (1 + _Z * _Z / n) * math.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
        # subtle: at none and at all, rounding can move an end past the rate itself.
        return min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half))

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, the rate and its interval."""
        low, high = self.interval() or (None, None)
        rate = self.refusals / self.replies if self.replies else None
        return {"replies": self.replies, "refusals": self.refusals, "rate": rate, "low": low, "high": high}
