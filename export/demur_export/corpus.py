"""Conversations to calibrate on and to compare with: demur's own corpus, or a file of the user's."""

import gzip
import json
from pathlib import Path

from demur._conversation import Conversation, from_row
from demur.errors import CheckpointError, InputError

OWN = Path(__file__).parent / "corpus.jsonl"


def read(path: Path | None, purpose: str = "calibration and comparison") -> list[Conversation]:
    """Return the conversations of a JSONL file, plain or gzip, in any shape that `demur score` takes.

    Args:
        path: The file; by default demur's own corpus of 160 conversations in 19 languages.
        purpose: What they are for, as an error says it.

    Raises:
        CheckpointError: The file can't be read; the message names the line.
    """
    path = OWN if path is None else path
    found = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    found.append(_conversation(path, number, line))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from error
    if len(found) < 16:
        raise CheckpointError(f"{path}: {len(found)} conversations; expected at least 16 for {purpose}")
    return found


def _conversation(path: Path, number: int, line: str) -> Conversation:
    try:
        conversation = from_row(json.loads(line))
        if conversation.rendered is None:
            conversation.last()
    except (ValueError, InputError) as error:
        raise CheckpointError(f"{path}, line {number}: {error}") from error
    return conversation
