"""Which of a row's fields hold the conversation: named by the caller, or recognised."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from demur._bulk._row import Row
from demur._conversation import SHAPES, describe
from demur.errors import DataError, InputError

# A name, .name, [0], [-1], ['name'] or ["name"]; as in JSONPath (RFC 9535), whose $ at the beginning may be left out.
_STEP = re.compile(r"""\.?([^.\[\]]+)|\[(-?\d+)\]|\[('|")(.*?)\3\]""", re.DOTALL)
_BESIDE = ("system", "input")


@dataclass(frozen=True)
class Columns:
    """Where the parts of a conversation are: names of columns, or paths into nested ones.

    Nothing given means that each row is recognised by its keys, as `Classifier.stream` does.

    Attributes:
        prompt: What the user asked.
        response: What the assistant replied.
        messages: The list of messages, OpenAI's or ShareGPT's.
        text: The conversation written in the model's template.
        id: What tells one row from another, for reports.

    Raises:
        DataError: A path can't be read, or the parts don't make one conversation.
    """

    prompt: str | None = None
    response: str | None = None
    messages: str | None = None
    text: str | None = None
    id: str | None = None

    def __post_init__(self) -> None:
        for path in self.named.values():
            parse(path)
        if sum(path is not None for path in (self.response, self.messages, self.text)) > 1:
            raise DataError("give one of --response-column, --messages-column and --text-column")
        if self.prompt is not None and self.response is None:
            raise DataError("--prompt-column needs --response-column, which holds the reply to judge")

    @property
    def named(self) -> dict[str, str]:
        """The parts that were named, and their paths."""
        return {part: path for part, path in vars(self).items() if path is not None}

    @property
    def given(self) -> bool:
        """Whether the caller said where the conversation is."""
        return any(part != "id" for part in self.named)

    def conversation(self, row: Row) -> Any:
        """Return a row's conversation in one of the shapes that a classifier takes.

        Raises:
            InputError: The row can't be read, or lacks a part.
        """
        fields = row.judged()
        if self.messages is not None:
            messages = _listed(get(fields, self.messages), self.messages)
            return {"conversations" if _sharegpt(messages) else "messages": messages} | _system(fields)
        if self.text is not None:
            return {"text": get(fields, self.text)}
        if self.response is not None:
            prompt = None if self.prompt is None else get(fields, self.prompt)
            return {"prompt": prompt, "response": get(fields, self.response)} | _system(fields)
        if row.cells:
            key = next((key for key in ("messages", "conversations") if key in fields), None)
            if key is not None:
                return {**fields, key: _listed(fields[key], key)}
        return fields

    def wanted(self, names: Collection[str]) -> list[str]:
        """Return which of a table's columns the conversation and the row's name are read from.

        Raises:
            DataError: There is none of that name, or no known shape among them.
        """
        tops = {_top(path, names) for path in self.named.values()}
        if not self.given:
            tops |= _shape(names)
        tops |= {name for name in _BESIDE if name in names}
        return [name for name in names if name in tops]

    def told(self, names: Collection[str]) -> str:
        """Return a phrase that says where the conversations of a table with these columns are."""
        parts = self.named if self.given else {name: name for name in names if name in _shape(names)}
        return ", ".join(part if part == path else f"{part} from {path}" for part, path in parts.items())


def parse(path: str) -> list[str | int]:
    """Split a path such as `choices[0].message.content` into its steps.

    Raises:
        DataError: It is none.
    """
    steps: list[str | int] = []
    at = 1 if path.startswith(("$.", "$[")) else 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or (not steps and found[0].startswith(".") and at == 0):
            raise DataError(f"{path!r} is no column: expected names and indices such as choices[0].message.content")
        name, index, _, quoted = found.groups()
        steps.append(int(index) if index is not None else name if name is not None else quoted)
        at = found.end()
    if not steps:
        raise DataError("a column's name is empty")
    return steps


def get(fields: Mapping[str, Any], path: str) -> Any:
    """Return what lies at a path; a column of exactly that name comes first.

    A text on the way is read as JSON.

    Raises:
        InputError: There is nothing there.
    """
    if path in fields:
        return fields[path]
    value: Any = fields
    for step in parse(path):
        if isinstance(value, str):
            value = _json(value, path)
        try:
            if isinstance(value, Mapping) != isinstance(step, str):
                raise KeyError(step)
            value = value[step]
        except (KeyError, IndexError, TypeError) as error:
            raise InputError(f"there is no {path}: no {step!r} in {describe(value)}") from error
    return value


def _top(path: str, names: Collection[str]) -> str:
    first = path if path in names else parse(path)[0]
    if not isinstance(first, str) or first not in names:
        raise DataError(f"there is no column {path!r}; the columns are {', '.join(names)}")
    return first


def _shape(names: Collection[str]) -> set[str]:
    for keys, _ in SHAPES:
        if keys <= set(names):
            return set(keys)
    raise DataError(
        f"no conversation is recognised among the columns {', '.join(names)}; name them by --response-column and "
        "--prompt-column, --messages-column or --text-column"
    )


def _listed(value: Any, name: str) -> Any:
    return _json(value, name) if isinstance(value, str) else value


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is a text that is not JSON: {error}") from error


def _sharegpt(messages: Any) -> bool:
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], Mapping) and "from" in messages[0]


def _system(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"system": fields["system"]} if isinstance(fields.get("system"), str) else {}
