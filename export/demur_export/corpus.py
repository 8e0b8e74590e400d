"""Conversations to calibrate on and to compare with: demur's own corpus, and those of a file of the user's."""

import gzip
import json
from pathlib import Path

from demur._conversation import Conversation
from demur._shapes import from_row
from demur.errors import CheckpointError, InputError

OWN = Path(__file__).parent / "corpus.jsonl"


def gate(texts: Path | None, alone: bool = False) -> list[Conversation]:
    """Return the conversations that a bundle is calibrated on and compared with PyTorch over.

    Args:
        texts: A file of the user's, whose conversations follow demur's own; None for those alone.
        alone: Whether the user's file, if there is one, takes the place of demur's own. A vocabulary pruned to one
            language can't be judged by nineteen.

    Raises:
        CheckpointError: The file can't be read, or has too few conversations.
    """
    if texts is None:
        return read(OWN)
    return read(texts) if alone else [*read(OWN), *read(texts, least=1)]


def read(path: Path, purpose: str = "calibration and comparison", least: int = 16) -> list[Conversation]:
    """Return the conversations of a JSONL file, plain or gzip, in any shape that `demur score` takes.

    Args:
        path: The file.
        purpose: What they are for, as an error says it.
        least: How many there must be.

    Raises:
        CheckpointError: The file can't be read, and the message names the line; or it has too few conversations.
    """
    found = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    found.append(_conversation(path, number, line))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from error
    if len(found) < least:
        raise CheckpointError(f"{path}: {len(found)} conversations; expected at least {least} for {purpose}")
    return found


def _conversation(path: Path, number: int, line: str) -> Conversation:
    try:
        conversation = from_row(json.loads(line))
        if conversation.rendered is None:
            conversation.last()
    except (ValueError, InputError) as error:
        raise CheckpointError(f"{path}, line {number}: {error}") from error
    return conversation
