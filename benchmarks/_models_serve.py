"""Says what loading a side takes, and what a process holds that judges a long text."""

import json
from pathlib import Path
from typing import Any

import _common as common
from _models_export import Ran, python, run
from demur_export.corpus import OWN

_LOAD = str(common.FOLDER / "_models_load.py")
_LOADS = 3


def serve(side: str, checkpoint: Path, path: str, folder: Path, tokens: int) -> dict[str, Any]:
    """Return what loading takes, and the memory of a process that judges a text of as many tokens as the model reads.

    The first process judges, and leaves the files in memory; the others only load and are timed.

    Args:
        side: As `_models_sides` names it.
        checkpoint: The stand-in.
        path: Its bundle, graph or checkpoint, by the side.
        folder: For the text.
        tokens: That the model reads at most.

    Raises:
        RuntimeError: A process failed; the message says how.
    """
    text = folder / "long.txt"
    rows = common.read_rows(OWN)
    replies = "\n\n".join(str(row.get("response", "")) for row in rows)
    # Twelve characters a token: more than the tokenizers need, so that each side has to leave some out.
    text.write_text((replies * (12 * tokens // len(replies) + 1))[: 12 * tokens], encoding="utf-8")
    command = python(_LOAD, side, str(checkpoint), path, str(text))
    first = said(run([*command, str(tokens)]))
    loads = [said(run([*command, "0"])) for _ in range(_LOADS)]
    times = {key: [one[key] for one in loads] for key in ("import_s", "load_s")}
    return {"tokens": first["tokens"], "peak_mb": first["peak_mb"], **times}


def said(ran: Ran) -> dict[str, Any]:
    """Return the object in the last line that a process printed; libraries may have printed lines before it."""
    found: dict[str, Any] = json.loads(ran.said.splitlines()[-1])
    return found
