"""A report as one page: no script, nothing from the network, and no text that could become markup."""

import html
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demur._report import _plots
from demur._report._examples import Example

# Values of one column, and reasons, that the page shows; all are among the numbers.
_SHOWN = 30
_KINDS = {
    "closest_refusals": ("Refusals closest to the line", True),
    "closest_answers": ("Answers closest to the line", True),
    "surest_refusals": ("Surest refusals", False),
    "surest_answers": ("Surest answers", False),
}
# Nothing may load and nothing may run, even if the escaping were to fail.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(numbers: Mapping[str, Any], examples: Mapping[str, Sequence[Example]]) -> str:
    """Return the report as HTML.

    Args:
        numbers: What `Tally.to_dict` counted.
        examples: The replies to show, by kind; their texts are untrusted.
    """
    style = (Path(__file__).parent / "_style.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Refusals in {_text(', '.join(numbers['files']))}</title><style>{style}</style></head><body>",
        _head(numbers),
        _figures(numbers) if numbers["overall"]["replies"] else "",
        *(_groups(column, groups) for column, groups in numbers["by"].items()),
        _examples(examples),
        _errors(numbers["errors"]),
        f'<p class="quiet">Made by demur {_text(numbers["demur"])}. Intervals are Wilson\'s, 95 %.</p>',
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _head(numbers: Mapping[str, Any]) -> str:
    overall, replies = numbers["overall"], numbers["overall"]["replies"]
    named = [*numbers["models"], *(f"threshold {value}" for value in numbers["thresholds"])]
    tiles = [
        ("replies judged", f"{replies:,}"),
        ("refusals", f"{overall['refusals']:,}"),
        ("refusal rate", _percent(overall["rate"])),
        ("95 % interval", _interval(overall)),
        ("read in part (elided)", _percent(numbers["elided"] / replies if replies else None)),
        ("not scored", f"{numbers['errors']['rows']:,}"),
    ]
    shown = "".join(f'<div><span class="quiet">{name}</span><b>{value}</b></div>' for name, value in tiles)
    about = f'<p class="quiet">{_text(", ".join(numbers["files"]))}</p><p class="quiet">{_text(", ".join(named))}</p>'
    return f'<h1>Refusal report</h1>{about}<div class="tiles">{shown}</div>'


def _figures(numbers: Mapping[str, Any]) -> str:
    over = numbers["over"]
    name = f"Refusal rate over time ({over['column']})" if over["kind"] == "time" else "Refusal rate along the input"
    undated = f"{over['undated']:,} replies have no time that could be read." if over["undated"] else ""
    plots = [
        ("Scores", _plots.histogram(numbers["histogram"]), "The count is on a logarithmic scale above 10."),
        (name, _plots.over(over), f"The band is the 95 % interval. {undated}"),
        (
            "Length and score",
            _plots.lengths(numbers["lengths"]),
            "The darker a field, the more replies; the line is the refusal rate. Each step doubles the length.",
        ),
    ]
    drawn = (
        f'<figure><figcaption>{_text(title)}</figcaption>{svg}<p class="quiet">{_text(note)}</p></figure>'
        for title, svg, note in plots
    )
    return f'<h2>At a glance</h2><div class="plots">{"".join(drawn)}</div>'


def _groups(column: str, groups: Sequence[Mapping[str, Any]]) -> str:
    head = (
        '<tr><th>value</th><th>replies</th><th>refusals</th><th>rate</th><th>interval</th><th class="bar"></th>'
        "<th>not scored</th></tr>"
    )
    rows = "".join(_group(group) for group in groups[:_SHOWN])
    table = f'<div class="wide"><table class="rates">{head}{rows}</table></div>'
    return f"<h2>By {_text(column)}</h2>{table}{_more(len(groups))}"


def _group(group: Mapping[str, Any]) -> str:
    bar = ""
    if group["rate"] is not None:
        left, width = 100 * group["low"], 100 * (group["high"] - group["low"])
        interval = f'<u style="left:{left:.2f}%;width:{width:.2f}%"></u>'
        bar = f'<div><i style="width:{100 * group["rate"]:.2f}%"></i>{interval}</div>'
    cells = [f"{group['replies']:,}", f"{group['refusals']:,}", _percent(group["rate"]), _interval(group)]
    counted = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><td>{_text(group["value"])}</td>{counted}<td class="bar">{bar}</td><td>{group["errors"]:,}</td></tr>'


def _examples(examples: Mapping[str, Sequence[Example]]) -> str:
    shown = ""
    for kind, (title, opened) in _KINDS.items():
        if examples[kind]:
            shown += f"<section><h3>{title}</h3>{''.join(_example(one, opened) for one in examples[kind])}</section>"
    return f'<h2>Examples</h2><div class="two">{shown}</div>' if shown else ""


def _example(example: Example, opened: bool) -> str:
    item = example.item
    turn = "" if item.turn is None else f", message {item.turn}"
    kind = "refusal" if item.refusal else "reply"
    asked = f'<blockquote dir="auto">{_text(example.prompt)}</blockquote>' if example.prompt else ""
    reply = _text(example.reply) if example.reply else '<span class="quiet">(the text is not in the file)</span>'
    return (
        f"<details{' open' if opened else ''}><summary><b>{item.score:.4f}</b> "
        f'<span class="quiet">{_text(item.place + turn)}, {item.tokens:,} tokens</span></summary>'
        f'{asked}<blockquote class="{kind}" dir="auto">{reply}</blockquote></details>'
    )


def _errors(errors: Mapping[str, Any]) -> str:
    if not errors["rows"]:
        return ""
    reasons = errors["reasons"]
    rows = "".join(f"<tr><td>{_text(one['reason'])}</td><td>{one['rows']:,}</td></tr>" for one in reasons[:_SHOWN])
    table = f'<div class="wide"><table><tr><th>reason</th><th>rows</th></tr>{rows}</table></div>'
    return f"<h2>Not scored</h2>{table}{_more(len(reasons))}"


def _more(count: int) -> str:
    return f'<p class="quiet">{count - _SHOWN:,} more are in the JSON.</p>' if count > _SHOWN else ""


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _interval(rate: Mapping[str, Any]) -> str:
    return "–" if rate["low"] is None else f"{100 * rate['low']:.1f}–{100 * rate['high']:.1f} %"


def _text(text: str) -> str:
    """A text as a page shows it: escaped, and without characters that control a terminal or a parser."""
    kept = (
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return html.escape("".join(kept))
