"""Segments to token ids within a model's budget: what does not fit is left out of the middle, never off the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from demur._template import Segment, render
from demur._tokenizer import Span, Tokenizer

# The turn before the reply keeps up to this part of the budget however long the reply is: what was asked
# tells a refusal from an answer, and an elided reply loses little by an eighth.
_QUESTION_SHARE = 8
# An older turn is elided into what is left only when that many tokens remain for it; fewer say nothing.
_LEAST_PIECE = 8
# Characters looked at for each token of the budget at either end of a turn. Real text has 1 to 6 characters a
# token; beyond the window a turn's tokens are estimated, so that the work is bounded for unbounded input.
_WINDOW = 16
# How many tokens an edge may move to reach the end of a word.
_SNAP = 8


class Fitted(NamedTuple):
    """What the model reads: the text, its token ids, and how many tokens of the whole were left out."""

    text: str
    ids: list[int]
    elided: int


def fit(segments: Sequence[Segment], tokenizer: Tokenizer, max_tokens: int, ellipsis: str) -> Fitted:
    """Write segments as at most `max_tokens` token ids, special tokens included.

    The last segment comes first: it takes what it needs, but for an eighth kept for the segment before it;
    then older segments, newest first. A segment that does not fit keeps its beginning and its end around
    `ellipsis`, and everything older than it is left out.

    Args:
        segments: The conversation; the last segment is the reply.
        tokenizer: The bundle's tokenizer.
        max_tokens: The model's limit, at least 16.
        ellipsis: What marks the gap.

    Returns:
        The text, its ids (at most `max_tokens`) and the number of tokens left out, which is exact as long as
        no turn is longer than 32 characters for each token of the budget, and estimated from the parts read
        beyond that.
    """
    if sum(len(s.opening) + len(s.content) for s in segments) <= 2 * _WINDOW * max_tokens:
        text = render(segments)
        ids = tokenizer.encode(text)
        if len(ids) <= max_tokens:
            return Fitted(text, ids, 0)
    ellipsis_cost = tokenizer.count(ellipsis)
    budget = max_tokens - tokenizer.special_tokens
    measured = _measure_newest(segments, tokenizer, max_tokens)
    total = sum(m.tokens for m in measured) + _count_unread(segments[: -len(measured)], tokenizer, max_tokens)
    while True:
        kept = _share(measured, budget, ellipsis_cost)
        last = measured[-len(kept) :]
        text = render([m.cut(keep, ellipsis, ellipsis_cost) for m, keep in zip(last, kept, strict=True)])
        ids = tokenizer.encode(text)
        if len(ids) <= max_tokens:
            return Fitted(text, ids, max(0, total - sum(kept)))
        # subtle: pieces beside a cut can be split otherwise than in their whole word, so the count is checked
        # on the text itself and the budget lowered by what is too much.
        budget -= max(1, len(ids) - max_tokens)


@dataclass(frozen=True)
class _Measured:
    """A segment with the places of the tokens near its two ends."""

    segment: Segment
    opening_cost: int
    tokens: int  # of the content; an estimate if the middle was not looked at
    head: list[Span]
    tail: list[Span]

    def cut(self, keep: int, ellipsis: str, ellipsis_cost: int) -> Segment:
        """Return the segment with about `keep` tokens of content, the ellipsis counted among them."""
        if keep >= self.tokens:
            return self.segment
        content = self.segment.content
        room = max(0, keep - ellipsis_cost)
        front = (room + 1) // 2
        back = room - front
        end = self._snap_end(front, content)
        start = self._snap_start(back, content)
        return Segment(self.segment.opening, content[:end] + ellipsis + content[max(start, end) :])

    def _snap_end(self, front: int, content: str) -> int:
        """Where the kept beginning ends: behind token `front`, moved back to the end of a word if one is near."""
        front = min(front, len(self.head))
        for k in range(front, max(0, front - _SNAP), -1):
            if not _inside_word(content, self.head[k - 1].end):
                return self.head[k - 1].end
        return self.head[front - 1].end if front else 0

    def _snap_start(self, back: int, content: str) -> int:
        """Where the kept end starts: before the last `back` tokens, moved on to the start of a word if one is near."""
        back = min(back, len(self.tail))
        for k in range(back, max(0, back - _SNAP), -1):
            if not _inside_word(content, self.tail[-k].start):
                return self.tail[-k].start
        return self.tail[-back].start if back else len(content)


def _inside_word(content: str, place: int) -> bool:
    return 0 < place < len(content) and content[place - 1].isalnum() and content[place].isalnum()


def _measure(segment: Segment, tokenizer: Tokenizer, max_tokens: int) -> _Measured:
    content = segment.content
    opening_cost = tokenizer.count(segment.opening)
    window = _WINDOW * max_tokens
    if len(content) <= 2 * window:
        spans = tokenizer.spans(content)
        return _Measured(segment, opening_cost, len(spans), spans, spans)
    head = tokenizer.spans(content[:window])
    offset = len(content) - window
    tail = [Span(start + offset, end + offset) for start, end in tokenizer.spans(content[offset:])]
    estimate = round((len(head) + len(tail)) / (2 * window) * len(content))
    # subtle: at least one more than can be kept, so that a huge segment is always cut, never taken whole.
    return _Measured(segment, opening_cost, max(estimate, max_tokens + 1), head, tail)


def _measure_newest(segments: Sequence[Segment], tokenizer: Tokenizer, max_tokens: int) -> list[_Measured]:
    """Measure from the newest segment back, until more tokens are at hand than the model can read."""
    measured: list[_Measured] = []
    at_hand = 0
    for segment in reversed(segments):
        measured.append(_measure(segment, tokenizer, max_tokens))
        at_hand += measured[-1].tokens + measured[-1].opening_cost
        if at_hand > max_tokens and len(measured) > 1:
            break
    return measured[::-1]


def _count_unread(segments: Sequence[Segment], tokenizer: Tokenizer, max_tokens: int) -> int:
    """Count the tokens of segments that can't be read; past a bounded number of characters, estimate them."""
    characters = sum(len(segment.content) for segment in segments)
    sample = "\n".join(segment.content[: _WINDOW * max_tokens] for segment in reversed(segments[-max_tokens:]))
    sample = sample[: 2 * _WINDOW * max_tokens]
    if not sample:
        return 0
    return round(tokenizer.count(sample) * max(1.0, characters / len(sample)))


def _share(measured: Sequence[_Measured], budget: int, ellipsis_cost: int) -> list[int]:
    """Return how many tokens of content each of the last segments keeps, oldest first.

    Segments older than the list is long are left out altogether.
    """
    reply = measured[-1]
    room = max(0, budget - reply.opening_cost)
    question = 0
    if len(measured) > 1:
        question = min(measured[-2].tokens + measured[-2].opening_cost, budget // _QUESTION_SHARE)
    kept = [min(reply.tokens, max(room - question, 0))]
    room -= kept[0]
    for older in reversed(measured[:-1]):
        room -= older.opening_cost
        if older.tokens <= room:
            kept.append(older.tokens)
            room -= older.tokens
            continue
        if room >= ellipsis_cost + _LEAST_PIECE:
            kept.append(room)
        break
    return kept[::-1]
