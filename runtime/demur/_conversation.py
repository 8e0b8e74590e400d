"""What callers may pass, as turns: messages, or prompt and response; `_shapes.py` has the rows of data sets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur._describe import describe, shorten
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
            raise ShapeError(f"message {i} has the {role_key} {shorten(role)}, expected one of {', '.join(_ALIASES)}")
        turns.append(Turn(_ALIASES[role.lower()], _content(message, content_key, i)))
    return Conversation(tuple(turns))


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
