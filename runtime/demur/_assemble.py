"""A bundle to a classifier, also where a pickled one is opened again."""

from collections.abc import Callable
from pathlib import Path

from demur import _bundle
from demur._background import Background
from demur._bundle import Bundle
from demur._classifier import Classifier
from demur._session import Session, begin
from demur._tokenizer import Tokenizer

# Enough for a session's options to be made, and too little to notice.
_HEAD_START_S = 0.003


def assemble(
    bundle: Bundle,
    open_session: Callable[[int], Session],
    *,
    threads: int,
    threshold: float,
    run_tokens: int | None = None,
    session: Background[Session] | None = None,
) -> Classifier:
    """Return the classifier of a bundle, with the bundle's own tokenizer; the arguments are those of `Classifier`.

    The session may be one that is still being opened.
    """
    opening = begin(open_session, threads) if session is None else session
    try:
        # subtle: who parses a tokenizer holds the interpreter throughout; who creates a session soon lets go of it.
        opening.wait(_HEAD_START_S)
        tokenizer = Tokenizer(bundle.tokenizer.path)
    finally:
        opening.wait()
    return Classifier(
        bundle,
        tokenizer,
        open_session,
        threads=threads,
        threshold=threshold,
        run_tokens=run_tokens,
        session=opening.result(),
    )


def reopen(
    folder: Path,
    open_session: Callable[[int], Session],
    threads: int,
    threshold: float,
    truncate: int | None,
    run_tokens: int | None,
) -> Classifier:
    """Return the classifier that was pickled, from its bundle's folder.

    Raises:
        BundleError: The folder is no longer there, or no usable bundle.
    """
    bundle = _bundle.read(folder)
    made = assemble(bundle, open_session, threads=threads, threshold=threshold, run_tokens=run_tokens)
    return made if truncate is None else made.truncated(truncate)
