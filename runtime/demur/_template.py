"""Turns to segments of one string, and back: how a conversation is written for one model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from demur.errors import EmptyResponseError, ShapeError


class Turn(NamedTuple):
    """One message: who spoke, and what."""

    role: str
    content: str


class Segment(NamedTuple):
    """A turn as the model reads it: what opens it (role tag, separator) and its content."""

    opening: str
    content: str


def is_blank(text: str) -> bool:
    """Whether a text is empty or white space; looks no further than its first other character."""
    return not text or text.isspace()


@dataclass(frozen=True)
class Template:
    """How a model writes conversations. All of it comes from the bundle.

    Attributes:
        roles: What opens a turn of each role. A role that is not named here is not part of what the model
            reads, and its turns are left out.
        separator: What stands between two turns.
        ellipsis: What marks the place where text was left out.
    """

    roles: Mapping[str, str]
    separator: str
    ellipsis: str

    @property
    def markers(self) -> tuple[str, ...]:
        """The role tags without the white space around them."""
        return tuple(tag for tag in (opening.strip() for opening in self.roles.values()) if tag)

    @cached_property
    def _openings(self) -> re.Pattern[str] | None:
        """What finds the openings of turns in a rendered text; None if no role has one."""
        openings = [re.escape(opening) for opening in self.roles.values() if opening.strip()]
        openings.sort(key=len, reverse=True)
        separator = f"(?:{re.escape(self.separator)})?" if self.separator else ""
        return re.compile(f"({separator}(?:{'|'.join(openings)}))") if openings else None

    def segments(self, turns: Sequence[Turn]) -> list[Segment]:
        """Return the turns that this model reads, each with what opens it."""
        known = [turn for turn in turns if turn.role in self.roles]
        if "user" not in self.roles:  # a model of replies alone reads one reply
            known = known[-1:]
        return [
            Segment((self.separator if i else "") + self.roles[turn.role], turn.content) for i, turn in enumerate(known)
        ]

    def parse(self, text: str) -> list[Segment]:
        """Split a rendered text at its role tags; the segments put together are `text` again.

        Text before the first tag becomes a segment without an opening. A text without any tag is one segment.
        """
        if self._openings is None:
            return [Segment("", text)]
        parts = self._openings.split(text)
        segments = [Segment("", parts[0])] if parts[0] else []
        return segments + [Segment(parts[i], parts[i + 1]) for i in range(1, len(parts), 2)]

    def is_reply(self, segment: Segment) -> bool:
        """Whether a parsed segment is an assistant's turn."""
        return segment.opening.endswith(self.roles["assistant"])

    def parse_to_reply(self, text: str) -> list[Segment]:
        """Split a rendered text, which must end with the assistant's reply.

        Raises:
            ShapeError: It has no role tags, or its last turn is not the assistant's.
            EmptyResponseError: Its last turn is blank.
        """
        segments = self.parse(text)
        if segments and not self.is_reply(segments[-1]):
            tag = self.roles["assistant"].strip()
            raise ShapeError(
                f"the text's last turn is not opened by {tag}; expected a conversation in the model's own template "
                "that ends with the assistant's reply (a bare reply is for check, or the key response)"
            )
        if not segments or is_blank(segments[-1].content):
            raise EmptyResponseError("the response is empty, so there is no reply to judge")
        return segments

    def replies(self, text: str) -> tuple[list[Segment], list[int]]:
        """Split a rendered text, and tell at which segments its replies are.

        Raises:
            EmptyResponseError: No assistant turn has text.
        """
        segments = self.parse(text)
        found = [i for i, segment in enumerate(segments) if self.is_reply(segment) and not is_blank(segment.content)]
        if not found:
            raise EmptyResponseError("no assistant turn has text, so there is no reply to judge")
        return segments, found


def render(segments: Sequence[Segment]) -> str:
    """Return the one string that the model reads."""
    return "".join(opening + content for opening, content in segments)
