"""Conversation to token ids, as one bundle's model reads them."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from demur._bundle import Bundle
from demur._conversation import Conversation
from demur._elide import LEAST_ROOM, Fitted, cut_off, fit
from demur._manifest import MANIFEST
from demur._markers import Neutraliser, clean_surrogates, harden
from demur._template import Segment, Turn
from demur._tokenizer import Tokenizer
from demur.errors import InputError, WrongValueError

_Written = TypeVar("_Written", Turn, Segment)


class Reader:
    """Writes conversations in a bundle's template, within its budget, so that no content poses as structure.

    Args:
        bundle: What the model is.
        tokenizer: Its tokenizer.
        truncate: Read only that many tokens from a reply's beginning, and nothing of what came before it.

    Raises:
        WrongValueError: The template leaves no room for a reply.
    """

    def __init__(self, bundle: Bundle, tokenizer: Tokenizer, truncate: int | None = None) -> None:
        self._bundle, self._tokenizer, self._template = bundle, tokenizer, bundle.template
        self._truncate = truncate
        markers = set(self._template.markers)
        structural = {
            token: i
            for token, i in tokenizer.added.items()
            if (token in tokenizer.special or token in markers) and token != self._template.ellipsis
        }
        self._neutralise = Neutraliser([*markers, *structural])
        self._structural, self._structural_ids = sorted(structural), set(structural.values())
        self._added = self._count_structural(tokenizer.encode(""))
        _check_room(bundle, tokenizer)

    def read(self, conversation: Conversation) -> Fitted:
        """Return what the model reads of a conversation that ends with the reply to judge.

        Raises:
            InputError: There is no such reply.
        """
        if conversation.rendered is not None:
            segments = self._template.parse_to_reply(conversation.rendered)
            return self._fit_rendered(*self._newest(segments, len(segments) - 1))
        turns = conversation.last()
        return self._fit_turns(*self._newest(turns, len(turns) - 1))

    def replies(self, conversation: Conversation) -> Iterator[tuple[int, Fitted]]:
        """Yield, for each reply, its place among the messages and what the model reads of it and what came before.

        Raises:
            InputError: There is no reply.
        """
        if conversation.rendered is None:
            turns, places = conversation.replies()
            for place, end in places:
                yield place, self._fit_turns(*self._newest(turns, end))
        else:
            segments, ends = self._template.replies(conversation.rendered)
            for end in ends:
                yield end, self._fit_rendered(*self._newest(segments, end))

    def _newest(self, turns: Sequence[_Written], end: int) -> tuple[Sequence[_Written], int]:
        """Return the turns up to `end` that could be read, and how many characters are in those before them.

        A turn takes a token at least, so that no more turns than tokens can be read.
        """
        start = max(0, end + 1 - self._bundle.max_tokens)
        return turns[start : end + 1], sum(len(turn.content) for turn in turns[:start])

    def _fit_rendered(self, segments: Sequence[Segment], older: int) -> Fitted:
        return self._fit(segments, older, clean_surrogates)

    def _fit_turns(self, turns: Sequence[Turn], older: int) -> Fitted:
        segments = self._bundle.template.segments(turns)
        fitted = self._fit(segments, older, self._neutralise)
        if self._poses_as_structure(fitted):
            fitted = self._fit(segments, older, lambda content: harden(self._neutralise(content)))
            if self._poses_as_structure(fitted):
                raise InputError("a message spells one of the model's own markers in a way that can't be broken up")
        return fitted

    def _fit(self, segments: Sequence[Segment], older: int, clean: Callable[[str], str]) -> Fitted:
        bundle = self._bundle
        if self._truncate is not None:
            return cut_off(segments[-1], self._tokenizer, self._truncate, clean)
        return fit(segments, self._tokenizer, bundle.max_tokens, bundle.template.ellipsis, clean, older)

    def _poses_as_structure(self, fitted: Fitted) -> bool:
        """Whether the ids hold more role tags and special tokens than the text spells and the tokenizer adds."""
        spelled = sum(fitted.text.count(token) for token in self._structural)
        return self._count_structural(fitted.ids) > spelled + self._added

    def _count_structural(self, ids: Sequence[int]) -> int:
        return sum(map(self._structural_ids.__contains__, ids))


def _check_room(bundle: Bundle, tokenizer: Tokenizer) -> None:
    """Refuse a template that leaves no room for a reply, however much of it is left out."""
    template = bundle.template
    opening = max(tokenizer.count(template.separator + opening) for opening in template.roles.values())
    least = tokenizer.special_tokens + opening + tokenizer.count(template.ellipsis) + LEAST_ROOM
    if least > bundle.max_tokens:
        raise WrongValueError(
            f"{bundle.folder / MANIFEST}: key 'max_tokens' is {bundle.max_tokens}, expected at least {least}: "
            "special tokens, role tag and ellipsis of 'template' leave no room for a reply"
        )
