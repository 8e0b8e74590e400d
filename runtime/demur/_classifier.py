"""The whole flow: conversation -> turns -> text -> ids -> logits -> Verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, overload

import numpy as np

from demur import _batches, _machine
from demur._bundle import Bundle
from demur._conversation import Conversation, from_messages, from_prompt
from demur._elide import Fitted
from demur._manifest import LEAST_TOKENS
from demur._reader import Reader
from demur._session import Session
from demur._shapes import from_row
from demur._stream import in_windows, or_error, ordered_map, raising
from demur._tokenizer import Tokenizer
from demur._verdict import Verdict, decide
from demur.errors import InputError

# Conversations that are sorted by length together, where texts share runs.
_WINDOW = 512


class Classifier:
    """A loaded bundle. Made by `load`; safe to share among threads, to pickle and to use after a fork.

    Args:
        bundle: What the model is.
        tokenizer: Its tokenizer.
        open_session: Opens a session of so many threads.
        threads: Threads for one text, at most the cores that this machine grants.
        threshold: The score from which a reply counts as a refusal.
        run_tokens: How many tokens several texts may share a run with, padding included; None for one text a run.
        session: One of as many threads as are granted, where it is open already.
    """

    def __init__(
        self,
        bundle: Bundle,
        tokenizer: Tokenizer,
        open_session: Callable[[int], Session],
        *,
        threads: int,
        threshold: float,
        run_tokens: int | None = None,
        session: Session | None = None,
    ) -> None:
        self._bundle, self._tokenizer, self._open_session = bundle, tokenizer, open_session
        self._threads, self._threshold = threads, threshold
        self._truncate: int | None = None
        self._run_tokens = run_tokens
        self._reader = Reader(bundle, tokenizer)
        self._lock = threading.Lock()
        granted = _machine.granted(threads)
        self._session = open_session(granted) if session is None else session
        self._single = self._session if granted == 1 else None

    def __reduce__(self) -> tuple[Any, ...]:
        from demur._assemble import reopen  # subtle: what opens a classifier imports this module

        kept = (self._threads, self._threshold, self._truncate, self._run_tokens)
        return reopen, (self._bundle.folder, self._open_session, *kept)

    def __repr__(self) -> str:
        return f"<demur.Classifier {self.name} ({self._bundle.recipe}) threshold={self._threshold:g}>"

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.name

    @property
    def threshold(self) -> float:
        """The score from which a reply counts as a refusal."""
        return self._threshold

    @property
    def max_tokens(self) -> int:
        """How many tokens the model reads; what is longer is elided."""
        return self._bundle.max_tokens if self._truncate is None else self._truncate

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's own labels, by output."""
        return self._bundle.labels

    def truncated(self, max_tokens: int) -> Classifier:
        """Return this classifier reading only the beginning of a reply, as pipelines that truncate do.

        The rest of a longer reply is cut off, not its middle elided, and prompts and earlier turns aren't read. The
        two classifiers share their sessions.

        Args:
            max_tokens: How many tokens to read, special tokens included.

        Raises:
            ValueError: It is less than 16 or more than the model reads.
        """
        if not LEAST_TOKENS <= max_tokens <= self._bundle.max_tokens:
            raise ValueError(
                f"max_tokens is {max_tokens}; {self.name} reads from {LEAST_TOKENS} to {self._bundle.max_tokens} tokens"
            )
        made = object.__new__(Classifier)
        made.__dict__ |= self.__dict__
        made._truncate, made._reader = max_tokens, Reader(self._bundle, self._tokenizer, max_tokens)
        return made

    def remembering(self, texts: int) -> Classifier:
        """Return this classifier remembering the logits of the last texts, so that a text that comes again isn't run.

        The two classifiers share their sessions. Where texts share runs nothing is remembered.

        Args:
            texts: How many, at most; each takes 24 bytes, however long it is.
        """
        if self.shares_runs:
            return self
        from demur._remember import Remembering

        made = object.__new__(Classifier)
        made.__dict__ |= self.__dict__
        made._single = Remembering(self._one_thread(), texts)
        return made

    def check(self, response: str, *, prompt: str | None = None, system: str | None = None) -> Verdict:
        """Judge one reply.

        Args:
            response: What the assistant replied.
            prompt: What the user asked. A verdict without it rests on the reply alone.
            system: The system prompt, if there was one.

        Raises:
            EmptyResponseError: The reply is blank.
            ShapeError: An argument is not a string.
        """
        return self._judge(from_prompt(response, prompt, system), self._session)

    def check_chat(self, messages: Sequence[Mapping[str, Any]]) -> Verdict:
        """Judge the last reply of a chat, given as OpenAI-style messages.

        Args:
            messages: `{"role": ..., "content": ...}` each; the last one is the assistant's.

        Raises:
            EmptyResponseError: The last reply has no text.
            ShapeError: Not such a list, or the last message is not the assistant's.
        """
        return self._judge(from_messages(messages), self._session)

    def check_text(self, text: str) -> Verdict:
        """Judge a conversation that is already written in the model's own template.

        Role tags in `text` are structure here; pass text that others wrote to `check` or `check_chat`.

        Raises:
            EmptyResponseError: There is no reply in it.
            ShapeError: It is not a string, or its last turn is not the assistant's.
        """
        return self._judge(from_row({"text": text}), self._session)

    @overload
    def stream(
        self, conversations: Iterable[Any], *, workers: int | None = ..., errors: Literal["raise"] = ...
    ) -> Iterator[Verdict]: ...
    @overload
    def stream(
        self, conversations: Iterable[Any], *, workers: int | None = ..., errors: Literal["return"]
    ) -> Iterator[Verdict | InputError]: ...
    def stream(
        self, conversations: Iterable[Any], *, workers: int | None = None, errors: Literal["raise", "return"] = "raise"
    ) -> Iterator[Verdict | InputError]:
        """Judge many conversations: in order, in parallel, in bounded memory.

        Args:
            conversations: Any iterable, of any length, of what `demur score` takes: objects with `messages`,
                `conversations`, `prompt` and `response`, `instruction` and `output`, or `text`; lists of messages;
                strings (a reply alone). At most eight for each worker are taken ahead of the verdicts.
            workers: Texts judged at a time, each on one thread; by default, and at most, the cores that this machine
                grants. On a GPU they only tokenise: windows of 512 conversations are sorted by length and share
                padded runs.
            errors: What becomes of a conversation that can't be judged: `raise` its error, which names its place,
                when its turn has come, or `return` the error in its place and go on.

        Raises:
            InputError: A conversation can't be judged, and `errors` is `raise`.
        """
        if errors not in ("raise", "return"):
            raise ValueError(f"errors is {errors!r}; it must be 'raise' or 'return'")
        workers = _machine.granted(workers)
        if self._run_tokens is None:
            judged = ordered_map(partial(or_error, self.judge_row), conversations, workers)
        else:
            window = partial(self._judge_window, workers, self._run_tokens)
            judged = in_windows(window, conversations, _WINDOW)
        return judged if errors == "return" else raising(judged)

    def judge_row(self, row: Any) -> Verdict:
        """Judge the last reply of one row of a data set on one thread; `stream` says which shapes are known."""
        return self._judge(from_row(row), self._one_thread())

    @property
    def shares_runs(self) -> bool:
        """Whether several texts share a run, as on a GPU."""
        return self._run_tokens is not None

    def judge_replies(self, row: Any) -> list[tuple[int, Verdict]]:
        """Judge every reply of one row on one thread, each with what came before it.

        Returns:
            For each assistant turn with text, its place in the list of messages and its verdict.
        """
        session = self._one_thread()
        return [(i, self._verdict(fitted, session)) for i, fitted in self._reader.replies(from_row(row))]

    def encode(self, row: Any) -> list[int]:
        """Return the token ids that the model reads for one row, elided where it is too long."""
        return self._read(row).ids

    def _read(self, row: Any) -> Fitted:
        return self._reader.read(from_row(row))

    def _judge_window(self, workers: int, run_tokens: int, rows: Sequence[Any]) -> list[Verdict | InputError]:
        """Judge the last replies of several rows in runs that they share; the workers tokenise."""
        read = list(ordered_map(partial(or_error, self._read), rows, workers))
        texts = [one.ids for one in read if isinstance(one, Fitted)]
        logits = iter(_batches.logits(self._session, texts, run_tokens))
        return [self._decided(one, next(logits)) if isinstance(one, Fitted) else one for one in read]

    def _judge(self, conversation: Conversation, session: Session) -> Verdict:
        return self._verdict(self._reader.read(conversation), session)

    def _verdict(self, fitted: Fitted, session: Session) -> Verdict:
        return self._decided(fitted, session.run(np.array([fitted.ids], dtype=np.int64))[0].tolist())

    def _decided(self, fitted: Fitted, logits: Sequence[float]) -> Verdict:
        return decide(self._bundle, logits, self._threshold, tokens=len(fitted.ids), elided=fitted.elided)

    def _one_thread(self) -> Session:
        """The session that workers share: one thread a run, so that runs go on side by side."""
        if self._single is None:
            with self._lock:
                if self._single is None:
                    self._single = self._open_session(1)
        return self._single
