"""What callers may pass, as turns: messages, prompt and response, and the row shapes of common data sets."""

import reprlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any

from demur._template import Turn, is_blank
from demur.errors import EmptyResponseError, ShapeError

# Other names of the roles, as OpenAI's and ShareGPT's formats use them. A tool's or a function's output keeps a
# role of its own, which no template reads.
_ALIASES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "tool": "tool",
    "tool_call": "tool",
    "function": "tool",
    "function_call": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}


@dataclass(frozen=True)
class Conversation:
    """What was passed, recognised.

    Attributes:
        turns: Every turn, roles under their common names (`system`, `user`, `assistant`, `tool`).
        rendered: The text, if it came already rendered; there are no turns then.
        added: How many turns at the beginning stood beside the list of messages, not in it.
    """

    turns: tuple[Turn, ...]
    rendered: str | None = None
    added: int = 0

    def last(self) -> list[Turn]:
        """Return the turns, which must end with the assistant's reply.

        Raises:
            ShapeError: The last turn is not the assistant's.
            EmptyResponseError: It has no text, or there are no turns.
        """
        if not self.turns:
            raise EmptyResponseError("there are no messages, so there is no reply to judge")
        role, content = self.turns[-1]
        if role != "assistant":
            raise ShapeError(f"the last message is the {role}'s, expected the assistant's reply to judge")
        if is_blank(content):
            raise EmptyResponseError("the response is empty, so there is no reply to judge")
        return [turn for turn in self.turns if not is_blank(turn.content)]

    def replies(self) -> tuple[list[Turn], list[tuple[int, int]]]:
        """Return the turns that have text, and where the replies are.

        Returns:
            The turns, and for each reply its place among the messages as they were passed and among those turns.

        Raises:
            EmptyResponseError: No assistant turn has text.
        """
        kept: list[Turn] = []
        places: list[tuple[int, int]] = []
        for i, turn in enumerate(self.turns, -self.added):
            if not is_blank(turn.content):
                if turn.role == "assistant":
                    places.append((i, len(kept)))
                kept.append(turn)
        if not places:
            raise EmptyResponseError("no assistant turn has text, so there is no reply to judge")
        return kept, places


def from_prompt(response: object, prompt: object = None, system: object = None) -> Conversation:
    """Recognise one exchange.

    Args:
        response: What the assistant replied.
        prompt: What the user asked, if known.
        system: The system prompt, if any.

    Raises:
        ShapeError: An argument is not a string.
    """
    turns = []
    for role, name, content in (
        ("system", "system", system),
        ("user", "prompt", prompt),
        ("assistant", "response", response),
    ):
        if content is None and role != "assistant":
            continue
        if not isinstance(content, str):
            raise ShapeError(f"{name} is {describe(content)}, expected a string")
        turns.append(Turn(role, content))
    return Conversation(tuple(turns))


def from_messages(messages: object, role_key: str = "role", content_key: str = "content") -> Conversation:
    """Recognise a list of messages.

    Content may be a string, a list of OpenAI's content parts (their text is joined), or null beside a `refusal`
    string, as OpenAI returns refusals. An assistant turn without text (a tool call) counts as a blank one.

    Raises:
        ShapeError: Not a list of messages, an unknown role, or a content part that is no text.
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise ShapeError(f"messages is {describe(messages)}, expected a list")
    turns = []
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or role_key not in message:
            raise ShapeError(
                f"message {i} is {describe(message)}, expected an object with {role_key} and {content_key}"
            )
        role = message[role_key]
        if not isinstance(role, str) or role.lower() not in _ALIASES:
            raise ShapeError(f"message {i} has the {role_key} {_shorten(role)}, expected one of {', '.join(_ALIASES)}")
        turns.append(Turn(_ALIASES[role.lower()], _content(message, content_key, i)))
    return Conversation(tuple(turns))


def from_row(row: object) -> Conversation:
    """Recognise one row of a data set by its keys.

    `{"messages": [{role, content}]}`, `{"conversations": [{from, value}]}`, `{"prompt", "response"}`,
    `{"instruction", "input", "output"}` and `{"text"}` (already rendered), in this order; a list is a list of
    messages, a string a response alone. A `system` key beside any of them is the system prompt.

    Raises:
        ShapeError: None of these shapes, or a value of another type.
    """
    if isinstance(row, Conversation):
        return row
    if isinstance(row, str):
        return from_prompt(row)
    if isinstance(row, Mapping):
        for keys, read in SHAPES:
            if keys <= row.keys():
                return read(row)
        raise ShapeError(
            f"unknown shape with the keys {_keys(row)}; expected messages, conversations, "
            "prompt and response, instruction and output, or text"
        )
    if isinstance(row, Sequence):
        return from_messages(row)
    raise ShapeError(f"a conversation is an object, a list of messages or a string, not {describe(row)}")


def _content(message: Mapping[str, Any], key: str, i: int) -> str:
    content = message.get(key)
    if content is None:
        content = message.get("refusal") or ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = []
        for part in content:
            text = part if isinstance(part, str) else None
            if isinstance(part, Mapping):
                text = part.get("text", part.get("refusal"))
            if not isinstance(text, str):
                raise ShapeError(
                    f"message {i} has a content part that is {describe(part)}, expected a text part; demur reads no "
                    "images or files"
                )
            parts.append(text)
        return "\n".join(text for text in parts if text)
    raise ShapeError(f"message {i} has {key} {describe(content)}, expected a string or a list of parts")


def _openai(row: Mapping[str, Any]) -> Conversation:
    return _with_system(row, from_messages(row["messages"]))


def _sharegpt(row: Mapping[str, Any]) -> Conversation:
    return _with_system(row, from_messages(row["conversations"], "from", "value"))


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


# The keys that each known shape of a row has, and what reads it; the first that fits counts.
SHAPES: tuple[tuple[Set[str], Callable[[Mapping[str, Any]], Conversation]], ...] = (
    ({"messages"}, _openai),
    ({"conversations"}, _sharegpt),
    ({"prompt", "response"}, _exchange),
    ({"instruction", "output"}, _alpaca),
    ({"text"}, _rendered),
)


def describe(value: object) -> str:
    """Return a value's type and the beginning of the value, for a message."""
    return f"{type(value).__name__} {_shorten(value)}"


def _keys(row: Mapping[Any, Any]) -> str:
    names = [_shorten(key) if not isinstance(key, str) else key[:30] for key in islice(row, 9)]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") or "(none)"


def _shorten(value: object) -> str:
    try:
        # subtle: a value from a file may be too deep or its number too long for `repr`.
        text = reprlib.repr(value)
    except ValueError:
        return "..."
    return text if len(text) <= 60 else text[:57] + "..."
