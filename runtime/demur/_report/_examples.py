"""The few replies that are worth a look: the closest calls and the clearest cases."""

import heapq
from dataclasses import dataclass, field

from demur._columns import Columns
from demur._report._items import Item
from demur._shapes import from_row
from demur.errors import InputError

# Characters of a text that are shown, from its beginning and its end.
_HEAD, _TAIL = 600, 300


@dataclass(frozen=True, slots=True)
class Example:
    """One reply to show.

    Attributes:
        item: Its verdict and place; the row is left out.
        prompt: What the user asked, empty if unknown.
        reply: What the assistant replied, empty if unknown; both shortened.
    """

    item: Item
    prompt: str
    reply: str


@dataclass
class Best:
    """The `most` items of the highest worth, no reply twice; of equal ones the first.

    Attributes:
        most: How many are kept.
        columns: Where the conversations are.
    """

    most: int
    columns: Columns
    _heap: list[tuple[float, int, Example]] = field(default_factory=list)
    _replies: set[str] = field(default_factory=set)
    _seen: int = 0

    def offer(self, worth: float, item: Item) -> None:
        """Keep an item if it is among the best so far."""
        self._seen += 1
        if not self.most or (len(self._heap) == self.most and worth <= self._heap[0][0]):
            return
        example = _example(item, self.columns)
        if example.reply and example.reply in self._replies:
            return
        entry = (worth, -self._seen, example)
        if len(self._heap) < self.most:
            heapq.heappush(self._heap, entry)
        else:
            self._replies.discard(heapq.heapreplace(self._heap, entry)[2].reply)
        self._replies.add(example.reply)

    def examples(self) -> list[Example]:
        """Return what was kept, the best first."""
        return [example for _, _, example in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Examples:
    """The examples of a report.

    Args:
        most: How many of each kind.
        columns: Where the conversations are.
    """

    def __init__(self, most: int, columns: Columns) -> None:
        self._kinds = {
            name: Best(most, columns)
            for name in ("closest_refusals", "closest_answers", "surest_refusals", "surest_answers")
        }

    def add(self, item: Item) -> None:
        """Look at one reply that was judged."""
        # subtle: refusals of the lowest scores and answers of the highest are closest to the line, wherever it lies.
        if item.refusal:
            self._kinds["closest_refusals"].offer(-item.score, item)
            self._kinds["surest_refusals"].offer(item.score, item)
        else:
            self._kinds["closest_answers"].offer(item.score, item)
            self._kinds["surest_answers"].offer(-item.score, item)

    def to_dict(self) -> dict[str, list[Example]]:
        """Return the examples by kind."""
        return {name: best.examples() for name, best in self._kinds.items()}


def _example(item: Item, columns: Columns) -> Example:
    prompt, reply = _texts(item, columns)
    bare = Item(
        item.place, {}, item.turn, None, item.score, item.refusal, item.tokens, item.elided, item.model, item.threshold
    )
    return Example(bare, _shortened(prompt), _shortened(reply))


def _texts(item: Item, columns: Columns) -> tuple[str, str]:
    """What was asked and what was replied; empty where it can't be told, as the score is there all the same."""
    try:
        conversation = from_row(columns.conversation(item.row))
    except InputError:
        return "", ""
    if conversation.rendered is not None:
        return "", conversation.rendered
    end = len(conversation.turns) - 1 if item.turn is None else item.turn + conversation.added
    if not 0 <= end < len(conversation.turns):
        return "", ""
    asked = [turn.content for turn in conversation.turns[:end] if turn.role == "user"]
    return (asked[-1] if asked else ""), conversation.turns[end].content


def _shortened(text: str) -> str:
    return text if len(text) <= _HEAD + _TAIL else f"{text[:_HEAD]}\n […]\n{text[-_TAIL:]}"
