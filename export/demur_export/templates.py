"""How published checkpoints write conversations, and which of these a checkpoint was trained on."""

import json
from pathlib import Path
from typing import Any

from demur._manifest import ROLES
from demur.errors import CheckpointError

# Sources: the model cards of agentlans/snowflake-arctic-embed-xs-refusal-classifier and of
# ProtectAI/distilroberta-base-rejection-v1, and the example code of NousResearch/Minos-v1, which has no system turn and
# nothing for what is left out.
TEMPLATES: dict[str, dict[str, Any]] = {
    "agentlans": {
        "roles": {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"},
        "separator": "",
        "ellipsis": "<|...|>",
    },
    "minos": {
        "roles": {"user": "<|user|>\n", "assistant": "<|assistant|>\n"},
        "separator": "\n",
        "ellipsis": " ... ",
    },
    "response-only": {"roles": {"assistant": ""}, "separator": "", "ellipsis": " ... "},
}


def resolve(choice: str | None, tokenizer: Path) -> dict[str, Any]:
    """Return the template for a checkpoint.

    Args:
        choice: A known template's name, a JSON file with `roles`, `separator` and `ellipsis`, or None to recognise
            agentlans' tags among the tokenizer's own entries.
        tokenizer: The checkpoint's `tokenizer.json`.

    Raises:
        CheckpointError: No such template, or none was named and the tokenizer has no role tags.
    """
    if choice is None:
        text = tokenizer.read_text(encoding="utf-8")
        if all(json.dumps(tag) in text for tag in ("<|user|>", "<|assistant|>")):
            return TEMPLATES["agentlans"]
        raise CheckpointError(
            f"{tokenizer}: the vocabulary has no role tags, so how conversations are written can't be told; "
            f"give --template {'|'.join(TEMPLATES)}|FILE"
        )
    if choice in TEMPLATES:
        return TEMPLATES[choice]
    path = Path(choice)
    if not path.is_file():
        raise CheckpointError(f"template {choice!r} is neither {', '.join(TEMPLATES)} nor a file")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        roles = dict(found["roles"])
        if not set(roles) <= set(ROLES) or set(found) != {"roles", "separator", "ellipsis"}:
            raise KeyError("roles")
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: a template is an object with roles (among {', '.join(ROLES)}), separator and ellipsis"
        ) from error
    return found  # type: ignore[no-any-return]
