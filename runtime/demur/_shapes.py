"""The shapes that rows of data sets have, as turns."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from demur._conversation import Conversation, from_messages, from_prompt
from demur._describe import describe, keys_of
from demur._template import Turn
from demur.errors import EmptyResponseError, ShapeError

# How the message begins for a row that none of the shapes fits.
UNKNOWN = "unknown shape"


class Shape(NamedTuple):
    """A shape that is known.

    Attributes:
        keys: What a row of it has.
        reply: The key that holds the reply, if not the whole conversation.
        read: Makes turns of it.
    """

    keys: frozenset[str]
    reply: str
    read: Callable[[Mapping[str, Any]], Conversation]


def from_row(row: object) -> Conversation:
    """Recognise one row of a data set by its keys.

    `{"messages": [{role, content}]}`, `{"conversations": [{from, value}]}`, `{"prompt", "response"}`,
    `{"instruction", "input", "output"}` and `{"text"}` (already rendered), in this order; a list is a list of
    messages, a string a response alone. Messages may have either names for their parts, and a `system` key beside
    them is the system prompt. Where a row has the keys of several shapes, as rows of a table that was made of
    different ones have, the first whose reply is not empty counts.

    Raises:
        ShapeError: None of these shapes, or a value of another type.
        EmptyResponseError: It has several of these shapes, and no reply in any.
    """
    if isinstance(row, Conversation):
        return row
    if isinstance(row, str):
        return from_prompt(row)
    if isinstance(row, Mapping):
        fitting = [shape for shape in SHAPES if shape.keys <= row.keys()]
        if not fitting:
            raise ShapeError(
                f"{UNKNOWN} with the keys {keys_of(row)}; expected messages, conversations, "
                "prompt and response, instruction and output, or text"
            )
        filled = [shape for shape in fitting if not is_empty(row[shape.reply])]
        if not filled and len(fitting) > 1:
            replies = " and ".join(shape.reply for shape in fitting)
            raise EmptyResponseError(f"{replies} are empty, so there is no reply to judge")
        return (filled or fitting)[0].read(row)
    if isinstance(row, Sequence):
        return from_messages(row)
    raise ShapeError(f"a conversation is an object, a list of messages or a string, not {describe(row)}")


def is_empty(value: object) -> bool:
    """Whether a row has nothing under a key: null, an empty text or an empty list."""
    return value is None or (isinstance(value, str | list | tuple) and not value)


def _messages(key: str, row: Mapping[str, Any]) -> Conversation:
    """Read a list of messages under the names of OpenAI or ShareGPT: its first one's, else the key's own."""
    messages = row[key]
    first = messages[0] if isinstance(messages, Sequence) and messages else None
    has = {name for name in ("role", "from") if isinstance(first, Mapping) and first.get(name) is not None}
    sharegpt = has == {"from"} or (len(has) != 1 and key == "conversations")
    return _with_system(row, from_messages(messages, *(("from", "value") if sharegpt else ("role", "content"))))


def _with_system(row: Mapping[str, Any], conversation: Conversation) -> Conversation:
    system = row.get("system")
    if system is None:
        return conversation
    if not isinstance(system, str):
        raise ShapeError(f"system is {describe(system)}, expected a string")
    return Conversation((Turn("system", system), *conversation.turns), added=1)


def _exchange(row: Mapping[str, Any]) -> Conversation:
    return from_prompt(row["response"], row["prompt"], row.get("system"))


def _alpaca(row: Mapping[str, Any]) -> Conversation:
    for key in ("instruction", "input"):
        if not isinstance(row.get(key), str | None):
            raise ShapeError(f"{key} is {describe(row[key])}, expected a string")
    prompt = "\n\n".join(part for part in (row["instruction"], row.get("input")) if part)
    return from_prompt(row["output"], prompt, row.get("system"))


def _rendered(row: Mapping[str, Any]) -> Conversation:
    if not isinstance(row["text"], str):
        raise ShapeError(f"text is {describe(row['text'])}, expected a string")
    return Conversation((), rendered=row["text"])


SHAPES = (
    Shape(frozenset({"messages"}), "messages", partial(_messages, "messages")),
    Shape(frozenset({"conversations"}), "conversations", partial(_messages, "conversations")),
    Shape(frozenset({"prompt", "response"}), "response", _exchange),
    Shape(frozenset({"instruction", "output"}), "output", _alpaca),
    Shape(frozenset({"text"}), "text", _rendered),
)
