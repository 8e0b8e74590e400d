"""Which columns of a table hold the conversation: named by the caller, or recognised."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur.errors import DataError, InputError

# What a table needs to have for its rows to be recognised, in the order in which `Classifier.stream` looks, and what
# is read beside it.
_SHAPES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("messages",), ("system",)),
    (("conversations",), ("system",)),
    (("prompt", "response"), ("system",)),
    (("instruction", "output"), ("input", "system")),
    (("text",), ()),
)
_LISTS = ("messages", "conversations")


@dataclass(frozen=True)
class Columns:
    """Where the parts of a conversation are.

    If any is named, the conversation is made of those that are; otherwise the columns are recognised by their names,
    as the keys of an object are by `Classifier.stream`.

    Attributes:
        prompt: The column of what the user asked.
        response: The column of what the assistant replied.
        messages: The column of messages, OpenAI's or ShareGPT's, nested or as JSON text.
        text: The column of conversations written in the model's template.
        system: The column of system prompts; by default `system`, where there is one.

    Raises:
        DataError: They don't make one conversation.
    """

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    text: str | None = None
    system: str | None = None

    def __post_init__(self) -> None:
        replies = [name for name in ("response", "messages", "text") if getattr(self, name) is not None]
        if len(replies) > 1:
            raise DataError(f"{' and '.join(replies)} are given; a conversation is in one of response, messages, text")
        if not replies and (self.prompt is not None or self.system is not None):
            raise DataError("prompt or system is given without response, messages or text, so there is no reply")
        if self.response is None and self.prompt is not None:
            raise DataError(f"prompt goes with response, not with {replies[0]}, which holds the whole conversation")
        if self.text is not None and self.system is not None:
            raise DataError("system doesn't go with text, which holds the whole conversation")

    def texts(self) -> dict[str, str]:
        """Return Arrow's name for text for each column that may hold a part: CSV would have numbers of some replies."""
        known = {part for needed, beside in _SHAPES for part in (*needed, *beside)}
        return dict.fromkeys(known.union(filter(None, vars(self).values())), "string")

    def found(self, names: Sequence[str]) -> dict[str, str]:
        """Return the parts of the conversation and the column that each is in.

        Args:
            names: The table's columns.

        Raises:
            DataError: One that was named is not there or is there twice, or none are recognised.
        """
        parts = {part: column for part, column in vars(self).items() if column is not None} or _recognised(names)
        if self.text is None and "system" in names:
            parts.setdefault("system", "system")
        for part, column in parts.items():
            count = names.count(column)
            if count != 1:
                found = "there is no such column" if not count else f"there are {count} columns of that name"
                raise DataError(f"{part} is to be read from {column!r}; {found} among {_listed(names)}")
        return parts


def row(parts: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """Return one row in a shape that a classifier takes.

    Args:
        parts: What `Columns.found` named.
        cells: A value for each.

    Raises:
        InputError: A list of messages is given as text that is not JSON.
    """
    made = dict(zip(parts, cells, strict=True))
    for name in _LISTS:
        if isinstance(made.get(name), str):
            made[name] = _json(made[name], name)
    if "messages" in made and _sharegpt(made["messages"]):
        made["conversations"] = made.pop("messages")
    if "response" in made:
        made.setdefault("prompt", None)
    return made


def _recognised(names: Sequence[str]) -> dict[str, str]:
    for needed, beside in _SHAPES:
        if all(name in names for name in needed):
            return {name: name for name in (*needed, *beside) if name in names}
    raise DataError(
        f"no conversation is recognised among the columns {_listed(names)}; name them: response and prompt, messages, "
        "or text"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:20])
    return f"{shown}, ..." if len(names) > 20 else shown or "(none)"


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is text that is not JSON: {error}") from error


def _sharegpt(messages: Any) -> bool:
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, Mapping) and "from" in first and "role" not in first
