"""Segments to token ids within a model's budget: what does not fit is left out of the middle, never off the end."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from demur._markers import clean_surrogates
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
# Tokens that must remain beside a template's own: fewer could not hold a reply.
LEAST_ROOM = 8

Clean = Callable[[str], str]


class Fitted(NamedTuple):
    """What the model reads: the text, its token ids, and how many tokens of the whole were left out."""

    text: str
    ids: list[int]
    elided: int


def fit(
    segments: Sequence[Segment],
    tokenizer: Tokenizer,
    max_tokens: int,
    ellipsis: str,
    clean: Clean = str,
    older: int = 0,
) -> Fitted:
    """Write segments as at most `max_tokens` token ids, special tokens included.

    The last segment comes first: it takes what it needs, but for an eighth kept for the segment before it;
    then older segments, newest first. A segment that does not fit keeps its beginning and its end around
    `ellipsis`, two thirds to one third, and everything older than it is left out.

    Args:
        segments: The conversation; the last segment is the reply.
        tokenizer: The bundle's tokenizer.
        max_tokens: The model's limit; it must leave `LEAST_ROOM` beside one opening and the ellipsis.
        ellipsis: What marks the gap.
        clean: Applied to the parts of contents that are read, before they are tokenised.
        older: Characters of turns before the first segment, which can't be read whatever they are.

    Returns:
        The text, its ids (at most `max_tokens`) and the number of tokens left out. Contents of up to 32 characters
        for each token of the budget are counted; beyond that the number is estimated from the parts read.
    """
    if not older and sum(len(s.opening) + len(s.content) for s in segments) <= 2 * _WINDOW * max_tokens:
        text = render([Segment(s.opening, clean(s.content)) for s in segments])
        ids = tokenizer.encode(text)
        if len(ids) <= max_tokens:
            return Fitted(text, ids, 0)
    ellipsis_cost = tokenizer.count(ellipsis)
    budget = max_tokens - tokenizer.special_tokens
    measured = _measure_newest(segments, tokenizer, max_tokens, clean)
    unread = segments[: -len(measured)]
    total = sum(m.tokens for m in measured) + _count_unread(unread, tokenizer, max_tokens, older)
    while True:
        kept = _share(measured, budget, ellipsis_cost)
        last = measured[-len(kept) :]
        text = render([m.cut(keep, ellipsis, ellipsis_cost) for m, keep in zip(last, kept, strict=True)])
        ids = tokenizer.encode(text)
        if len(ids) <= max_tokens:
            cuts = sum(keep < m.tokens for m, keep in zip(last, kept, strict=True))
            frame = tokenizer.special_tokens + sum(m.opening_cost for m in last) + cuts * ellipsis_cost
            whole = not (cuts or older or len(last) < len(segments))
            return Fitted(text, ids, 0 if whole else max(1, total - (len(ids) - frame)))
        # subtle: pieces beside a cut can be split otherwise than in their whole word, so the count is checked
        # on the text itself and the budget lowered by what is too much.
        budget -= max(1, len(ids) - max_tokens)


def cut_off(segment: Segment, tokenizer: Tokenizer, max_tokens: int, clean: Clean = str) -> Fitted:
    """Write one segment as at most `max_tokens` token ids: its beginning, and nothing of what doesn't fit.

    Returns:
        The text that was looked at, its first ids, and the number of tokens left out, estimated where not all of the
        text was looked at.
    """
    window = 2 * _WINDOW * max_tokens
    while True:
        content = segment.content[:window]
        text = segment.opening + clean(content)
        ids = tokenizer.encode(text)
        # subtle: white space takes no token in some vocabularies, so a window may hold too few of them; twice the
        # limit keeps the window's edge, where a word may be cut in two, away from what is read.
        if len(content) == len(segment.content) or len(ids) >= 2 * max_tokens:
            break
        window *= 4
    kept = tokenizer.cut(ids, max_tokens)
    total = round(len(ids) * max(1.0, len(segment.content) / max(1, len(content))))
    return Fitted(text, kept, total - len(kept))


class _Measured(NamedTuple):
    """A segment, cleaned, with the places of the tokens near its two ends.

    A content within two windows is `front` and `back` both; of a longer one they are its two ends.
    """

    opening: str
    opening_cost: int
    tokens: int  # of the content; an estimate if the middle was not looked at
    front: str
    head: list[Span]  # tokens of `front`
    back: str
    tail: list[Span]  # tokens of `back`

    def cut(self, keep: int, ellipsis: str, ellipsis_cost: int) -> Segment:
        """Return the segment with about `keep` tokens of content, the ellipsis counted among them."""
        if keep >= self.tokens:
            return Segment(self.opening, self.front)
        room = max(0, keep - ellipsis_cost)
        first = (2 * room + 2) // 3
        end, start = self._end(first), self._start(room - first)
        if self.front is self.back:
            start = max(start, end)
        return Segment(self.opening, self.front[:end] + ellipsis + self.back[start:])

    def _end(self, count: int) -> int:
        """Where the kept beginning ends: behind `count` tokens, moved back to the end of a word if one is near."""
        count = min(count, len(self.head))
        for k in range(count, max(0, count - _SNAP), -1):
            if not _inside_word(self.front, self.head[k - 1].end):
                return self.head[k - 1].end
        return self.head[count - 1].end if count else 0

    def _start(self, count: int) -> int:
        """Where the kept end starts: before the last `count` tokens, moved on to a word's start if one is near."""
        count = min(count, len(self.tail))
        for k in range(count, max(0, count - _SNAP), -1):
            if not _inside_word(self.back, self.tail[-k].start):
                return self.tail[-k].start
        return self.tail[-count].start if count else len(self.back)


def _inside_word(content: str, place: int) -> bool:
    return 0 < place < len(content) and content[place - 1].isalnum() and content[place].isalnum()


def _measure(segment: Segment, tokenizer: Tokenizer, max_tokens: int, clean: Clean) -> _Measured:
    opening, content = segment
    cost, window = tokenizer.count(opening), _WINDOW * max_tokens
    if len(content) <= 2 * window:
        whole = clean(content)
        spans = tokenizer.spans(whole)
        return _Measured(opening, cost, len(spans), whole, spans, whole, spans)
    front, back = clean(content[:window]), clean(content[-window:])
    head, tail = tokenizer.spans(front), tokenizer.spans(back)
    estimate = round((len(head) + len(tail)) / (2 * window) * len(content))
    # subtle: at least one more than can be kept, so that a huge segment is always cut, never taken whole.
    return _Measured(opening, cost, max(estimate, max_tokens + 1), front, head, back, tail)


def _measure_newest(
    segments: Sequence[Segment], tokenizer: Tokenizer, max_tokens: int, clean: Clean
) -> list[_Measured]:
    """Measure from the newest segment back, until more tokens are at hand than the model can read."""
    measured: list[_Measured] = []
    at_hand = 0
    for segment in reversed(segments):
        measured.append(_measure(segment, tokenizer, max_tokens, clean))
        at_hand += measured[-1].tokens + measured[-1].opening_cost
        if at_hand > max_tokens and len(measured) > 1:
            break
    return measured[::-1]


def _count_unread(segments: Sequence[Segment], tokenizer: Tokenizer, max_tokens: int, older: int) -> int:
    """Count the tokens of what can't be read; past a bounded number of characters, estimate them."""
    characters = older + sum(len(segment.content) for segment in segments)
    sample = "\n".join(segment.content[: _WINDOW * max_tokens] for segment in segments[-max_tokens:])
    sample = sample[: 2 * _WINDOW * max_tokens]
    if not sample:
        return round(older / 4)  # about English; there is nothing to estimate from
    return round(tokenizer.count(clean_surrogates(sample)) * max(1.0, characters / len(sample)))


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
