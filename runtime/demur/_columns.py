"""Which of a row's fields hold the conversation: named by the caller, or recognised. The one rule for every table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur._paths import from_json, get, top
from demur._shapes import SHAPES, is_empty
from demur.errors import DataError, ShapeError

_LISTS = ("messages", "conversations")
# What is read beside the keys of a shape.
_BESIDE = ("system", "input")
# Every column that can be a part of a conversation without being named.
KNOWN = frozenset(_BESIDE).union(*(shape.keys for shape in SHAPES))


@dataclass(frozen=True)
class Columns:
    """Where the parts of a conversation are: names of columns, or paths into nested ones.

    If any is named, the conversation is made of those that are; otherwise each row is recognised by its keys, as
    `Classifier.stream` recognises objects.

    Attributes:
        prompt: What the user asked.
        response: What the assistant replied.
        messages: The list of messages, OpenAI's or ShareGPT's, nested or as JSON text.
        text: The conversation written in the model's template.
        system: The system prompt; by default `system`, where there is one.
        id: What tells one row from another, for reports of errors.

    Raises:
        DataError: They don't make one conversation.
    """

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    text: str | None = None
    system: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        replies = [part for part in ("response", "messages", "text") if part in self.named]
        if "" in self.named.values():
            raise DataError(f"the name of the column of {min(p for p, n in self.named.items() if not n)} is empty")
        if len(replies) > 1:
            raise DataError(f"{' and '.join(replies)} are given; a conversation is in one of response, messages, text")
        if not replies and self.given:
            raise DataError("prompt or system is given without response, messages or text, so there is no reply")
        if self.response is None and self.prompt is not None:
            raise DataError(f"prompt goes with response, not with {replies[0]}, which holds the whole conversation")
        if self.text is not None and self.system is not None:
            raise DataError("system doesn't go with text, which holds the whole conversation")

    @property
    def named(self) -> dict[str, str]:
        """The parts that were named, and their paths."""
        return {part: path for part, path in vars(self).items() if path is not None}

    @property
    def given(self) -> bool:
        """Whether the caller said where the conversation is."""
        return any(part != "id" for part in self.named)

    def conversation(self, fields: Mapping[str, Any]) -> Any:
        """Return the conversation of a row with these fields in one of the shapes that a classifier takes.

        A list of messages may be written as JSON, as CSV has it and databases export it.

        Raises:
            InputError: The row lacks a part, or a list of messages is a text that is not JSON.
        """
        if self.text is not None:
            return {"text": get(fields, self.text)}
        if self.messages is not None:
            return {"messages": _listed(get(fields, self.messages), self.messages)} | self._system(fields)
        if self.response is not None:
            prompt = None if self.prompt is None else get(fields, self.prompt)
            response = get(fields, self.response)
            if isinstance(response, list) and response and isinstance(response[0], Mapping):
                raise ShapeError(f"{self.response} holds messages; name it as the column of messages, not of responses")
            return {"prompt": prompt, "response": response} | self._system(fields)
        for key in _LISTS:
            if not is_empty(fields.get(key)):
                return {**fields, key: _listed(fields[key], key)} if isinstance(fields[key], str) else fields
        return fields

    def wanted(self, names: Sequence[str]) -> list[str]:
        """Return which of a table's columns the conversation and the row's name are read from.

        Raises:
            DataError: One that was named is not there or is there twice, or no known shape is among them.
        """
        tops = {part: path if path in names else top(path) for part, path in self.named.items()}
        if not self.given:
            tops |= {name: name for keys in _recognised(names) for name in keys}
        for part, column in tops.items():
            count = names.count(column) if isinstance(column, str) else 0
            if count != 1:
                found = "there is no such column" if not count else f"there are {count} columns of that name"
                raise DataError(
                    f"{part} is to be read from {self.named.get(part, part)!r}; {found} among {_list(names)}"
                )
        beside = _BESIDE if self.text is None else ()
        return [name for name in names if name in tops.values() or name in beside]

    def told(self, names: Sequence[str]) -> str:
        """Return a phrase that says where the conversations of a table with these columns are."""
        if self.given:
            return ", ".join(part if part == path else f"{part} from {path}" for part, path in self.named.items())
        shapes = [", ".join(name for name in names if name in keys) for keys in _recognised(names)]
        return ", or else ".join(shapes) + (f", id from {self.id}" if self.id else "")

    def reach(self) -> set[str]:
        """Return every column, there or not, that a part of a conversation may be read from."""
        named = {name for path in self.named.values() for name in (path, top(path)) if isinstance(name, str)}
        return named | KNOWN

    def _system(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        system = fields.get("system") if self.system is None else get(fields, self.system)
        return {} if system is None else {"system": system}


def _recognised(names: Sequence[str]) -> list[frozenset[str]]:
    found = [shape.keys for shape in SHAPES if shape.keys.issubset(names)]
    if not found:
        raise DataError(
            f"no conversation is recognised among the columns {_list(names)}; name them: response and prompt, "
            "messages, or text (for a command --response-column, --prompt-column and so on)"
        )
    return found


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name[:60] for name in names[:20])
    return f"{shown}, ..." if len(names) > 20 else shown or "(none)"


def _listed(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return from_json(value, name) if value else None
    return value
