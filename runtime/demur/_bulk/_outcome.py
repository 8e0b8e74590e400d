"""What became of one row: its verdict, those of all its replies, or why it has none."""

from dataclasses import dataclass
from typing import Any

from demur._verdict import Verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        verdict: Of its last reply.
        replies: Where all replies are judged, each one's place among the messages and its verdict.
        error: Why it could not be scored; there are no verdicts then.
    """

    verdict: Verdict | None = None
    replies: tuple[tuple[int, Verdict], ...] | None = None
    error: str | None = None

    @property
    def refusals(self) -> int:
        """How many of the replies judged are refusals."""
        if self.verdict is not None:
            return int(self.verdict.refusal)
        return sum(verdict.refusal for _, verdict in self.replies or ())

    def to_dict(self) -> dict[str, Any]:
        """Return the `demur` object of a row that was scored."""
        if self.verdict is not None:
            return self.verdict.to_dict()
        replies = [{"turn": turn} | verdict.to_dict() for turn, verdict in self.replies or ()]
        return {"refusals": self.refusals, "turns": replies}

    def pack(self) -> Any:
        """Return the same in JSON's types, for `unpack`."""
        if self.error is not None:
            return self.error
        if self.verdict is not None:
            return _fields(self.verdict)
        return {"turns": [[turn, *_fields(verdict)] for turn, verdict in self.replies or ()]}


def unpack(packed: Any) -> Outcome:
    """Return the outcome that `Outcome.pack` packed, bit for bit."""
    if isinstance(packed, str):
        return Outcome(error=packed)
    if isinstance(packed, list):
        return Outcome(verdict=_verdict(packed))
    return Outcome(replies=tuple((turn, _verdict(fields)) for turn, *fields in packed["turns"]))


def _fields(verdict: Verdict) -> list[Any]:
    return [getattr(verdict, name) for name in Verdict.__slots__]


def _verdict(fields: list[Any]) -> Verdict:
    *others, logits = fields
    return Verdict(*[*others, tuple(logits)])
