"""Renders a bundle's card, its README.md, from what the manifest says."""

import json
from typing import Any

from demur_export import walk

_BELOW = "**This bundle falls short of demur's gate, and was accepted as it is by whoever exported it.**"


def render(manifest: dict[str, Any], notes: str = "") -> str:
    """Return the card.

    Args:
        manifest: What `demur.json` holds.
        notes: Markdown about the model itself (data, figures, limits), put between use and export.
    """
    source, parity, files = manifest["source"], manifest["parity"], manifest["files"]
    megabytes = sum(file["bytes"] for file in files.values()) / 1e6
    revision = f" at revision `{source['revision']}`" if source["revision"] else ""
    template = json.dumps(manifest["template"], ensure_ascii=False)
    sections = [
        _front_matter(manifest),
        f"# {manifest['name']}",
        "A refusal classifier for demur: given a conversation, the probability that its last reply declines. "
        f"A {manifest['architecture']} of {manifest['parameters'] / 1e6:.1f} M weights, recipe `{manifest['recipe']}`, "
        f"{megabytes:.1f} MB, exported from {source['repository']}{revision}.",
        "## Use",
        f'```python\nimport demur\n\nmodel = demur.load("{manifest["name"]}")  # or the path of this folder\n'
        'print(model.check("I\'m sorry, but I can\'t help with that.", prompt="How do I pick a lock?"))\n```',
        notes.strip(),
        "## Facts",
        _table(
            {
                "licence": manifest["licence"],
                "languages": ", ".join(manifest["languages"]) or "not stated",
                "labels": ", ".join(f"{i}: {label}" for i, label in enumerate(manifest["labels"])),
                "refusal": f"output {manifest['refusal']}",
                "reads": f"{manifest['max_tokens']} tokens; longer texts are elided in the middle",
                "template": f"`{template}`",
                "operating points": ", ".join(f"{k} {v:g}" for k, v in manifest["operating_points"].items()),
                "made with": ", ".join(f"{k} {v}" for k, v in manifest["exported"].items() if isinstance(v, str | int)),
                **_vocabulary(manifest["exported"].get("vocabulary")),
                **_interop(manifest["exported"].get("interop")),
            }
        ),
        "## Distance from PyTorch",
        f"{parity['texts']} texts, each alone, against the checkpoint in PyTorch fp32, on {_processor(parity)}.",
        "" if parity["within_gate"] else _BELOW,
        _table(
            {
                "label flips": f"{parity['label_flips']}; {parity['sure_flips']} where PyTorch is surer than 0.9",
                "max abs. difference of p": f"{parity['max_dp']:.4f}",
                "mean abs. difference of p": f"{parity['mean_dp']:.5f}",
                "max abs. difference of a logit": f"{parity['max_dlogit']:.4f}",
            }
        ),
        "What was tried, from fast to exact, up to the first that keeps every limit:",
        walk.table(manifest["exported"]["tried"], parity["texts"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _processor(parity: dict[str, Any]) -> str:
    """Return on which processor the figures were taken."""
    found = parity["processor"]
    sets = ", ".join(found["instruction_sets"]) or "no instruction sets known"
    return f"{found['name']} ({found['machine']}: {sets})"


def _vocabulary(pruned: dict[str, Any] | None) -> dict[str, str]:
    """Return the row that says what was pruned, if anything was."""
    if pruned is None:
        return {}
    more = pruned["more_tokens"]
    return {
        "vocabulary": f"{pruned['entries']:,} of the checkpoint's {pruned['of']:,} entries: those that "
        f"{pruned['conversations']:,} conversations ({pruned['corpus']}) use, and every character and byte by itself; "
        f"the texts compared below take {more:.1%} more tokens than with all"
    }


def _interop(record: dict[str, Any] | None) -> dict[str, str]:
    """Return the row that says what other clients find here, if anything."""
    if record is None:
        return {}
    files = ", ".join(f"`{name}`" for name, of in record.items() if "left out" not in of)
    return {"other clients": f"the folder [interop](interop/README.md) has {files}"}


def _front_matter(manifest: dict[str, Any]) -> str:
    lines = [
        "---",
        "library_name: demur",
        "pipeline_tag: text-classification",
        f"license: {manifest['licence'].lower()}",
    ]
    if manifest["languages"]:
        lines += ["language:", *(f"- {language}" for language in manifest["languages"])]
    return "\n".join([*lines, "---"])


def _table(rows: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows.items())])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")
