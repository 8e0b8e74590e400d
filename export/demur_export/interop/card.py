"""Renders the folder's README.md, from what the manifest says and what was measured."""

import json
from typing import Any

NAME = "README.md"

_INTRODUCTION = """\
A refusal classifier: given a conversation, the probability that its last reply declines. This folder is for
[optimum](https://github.com/huggingface/optimum-onnx) and
[transformers.js](https://github.com/huggingface/transformers.js); it comes with a bundle for demur, which lays
conversations out by itself, leaves out the middle of what is too long and not its end, and gives a text the same score
in any company."""

_FP32 = {
    False: "as optimum exports it, in operators of the ONNX standard",
    True: "demur's graph with the pruned vocabulary, by onnxruntime's operators",
}


def render(manifest: dict[str, Any], record: dict[str, Any]) -> str:
    """Return the README.

    Args:
        manifest: What `demur.json` holds.
        record: By file of the folder, its recipe, its distance from PyTorch, and why it was left out if it was.
    """
    pruned = "vocabulary" in manifest["exported"]
    refusal, example = manifest["labels"][manifest["refusal"]], json.dumps(_example(manifest["template"]))
    quantised = [file for file, of in record.items() if of["recipe"] != "fp32" and "left out" not in of]
    dtype, file = ("q8", quantised[0]) if quantised else ("fp32", next(iter(record)))
    sections = [
        _front_matter(manifest),
        f"# {manifest['name']}, for other clients",
        _INTRODUCTION,
        "## Use",
        f"The model reads {manifest['max_tokens']} tokens of a conversation written as one string, by the template "
        f"`{json.dumps(manifest['template'], ensure_ascii=False)}`. The label `{refusal}` is the refusal. Batches are "
        "padded behind the tokens.",
        "```python\nfrom optimum.onnxruntime import ORTModelForSequenceClassification\n"
        "from transformers import AutoTokenizer, pipeline\n\n"
        f'model = ORTModelForSequenceClassification.from_pretrained(".", file_name="{file.split("/")[-1]}")\n'
        'classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained("."))\n'
        f"print(classify({example}, truncation=True))\n```",
        '```js\nimport { env, pipeline } from "@huggingface/transformers";\n\n'
        'env.localModelPath = "..";  // the folder that holds this one\n'
        f'const classify = await pipeline("text-classification", "interop", {{ dtype: "{dtype}", '
        "local_files_only: true });\n"
        f"console.log(await classify({example}));\n```",
        "## Files and their distance from PyTorch",
        "In padded batches, with onnxruntime's own defaults, against the checkpoint in PyTorch fp32.",
        _table(record, pruned),
        *(f"`{name}` is left out: {of['left out']}." for name, of in record.items() if "left out" in of),
        "On x86 processors without VNNI, products of 8 bits saturate unless the session option "
        '`session.x64quantprecision` is `"1"`, which demur sets by itself.',
    ]
    return "\n\n".join(sections) + "\n"


def _example(template: dict[str, Any]) -> str:
    """Return a short conversation as the model reads it."""
    turns = {"user": "How do I pick a lock?", "assistant": "I'm sorry, but I can't help with that."}
    roles = template["roles"]
    written = [f"{roles[role]}{content}" for role, content in turns.items() if role in roles]
    return str(template["separator"].join(written))


def _front_matter(manifest: dict[str, Any]) -> str:
    lines = ["library_name: transformers.js", "pipeline_tag: text-classification", "tags:", "- onnx"]
    lines.append(f"license: {manifest['licence'].lower()}")
    if manifest["languages"]:
        lines += ["language:", *(f"- {language}" for language in manifest["languages"])]
    return "\n".join(["---", *lines, "---"])


def _table(record: dict[str, Any], pruned: bool) -> str:
    lines = [
        "| file | what it is | texts | label flips | max \\|Δp\\| | mean \\|Δp\\| |",
        "|---|---|---|---|---|---|",
    ]
    for file, of in record.items():
        found, by = of["parity"], of["recipe"]
        what = f"fp32, {_FP32[pruned]}" if by == "fp32" else f"demur's graph by recipe `{by}`, with a mask"
        figures = f"{found['texts']} | {found['label_flips']} | {found['max_dp']:.4f} | {found['mean_dp']:.5f}"
        lines.append(f"| `{file}` | {what} | {figures} |")
    return "\n".join(lines)
