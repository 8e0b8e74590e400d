"""The plots of a report, as SVG that takes its colours from the page. The only importer of matplotlib."""

import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from demur._extras import need
from demur._report._tally import BINS

# Colours that stand for variables of the page's style sheet, so that the plots follow it from light to dark.
_INK, _MUTED, _GRID, _ANSWER, _REFUSAL = "#010203", "#010204", "#010205", "#010206", "#010207"
_VARIABLES = {_INK: "--ink", _MUTED: "--muted", _GRID: "--line", _ANSWER: "--answer", _REFUSAL: "--refusal"}
_SIZE = (4.6, 2.7)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "demur",
    "font.size": 9,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "text.color": _INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def histogram(bins: Sequence[Mapping[str, Any]]) -> str:
    """Draw how many replies have which score, refusals on top of answers."""
    with _drawn() as plot:
        at = [bin["from"] for bin in bins]
        answers = [bin["replies"] - bin["refusals"] for bin in bins]
        style = {"width": 1 / len(bins), "align": "edge", "edgecolor": "none"}
        plot.axes.bar(at, answers, color=_ANSWER, label="answers", **style)
        plot.axes.bar(at, [bin["refusals"] for bin in bins], bottom=answers, color=_REFUSAL, label="refusals", **style)
        # subtle: nearly all scores are at the two ends; a scale that is linear near 0 shows the few between them too.
        plot.axes.set_yscale("symlog", linthresh=10)
        plot.axes.set(xlabel="score", ylabel="replies", xlim=(0, 1))
        plot.axes.set_ylim(bottom=0)
        plot.axes.yaxis.set_major_formatter(plot.formatter(_thousands))
        plot.axes.grid(axis="x", visible=False)
        plot.axes.legend(loc="upper center", ncols=2)
    return plot.svg


def over(series: Mapping[str, Any]) -> str:
    """Draw the refusal rate over time or over the place in the input, with its interval."""
    buckets = series["buckets"]
    with _drawn() as plot:
        at: list[Any] = [(bucket["from"] + bucket["to"]) / 2 for bucket in buckets if series["kind"] == "position"]
        if series["kind"] == "time":
            at = [plot.moment(bucket["from"]) for bucket in buckets]
        low, high = [100 * bucket["low"] for bucket in buckets], [100 * bucket["high"] for bucket in buckets]
        plot.axes.fill_between(at, low, high, color=_REFUSAL, alpha=0.2, linewidth=0)
        plot.axes.plot(at, [100 * bucket["rate"] for bucket in buckets], color=_REFUSAL, marker=".", linewidth=1.2)
        plot.axes.set(xlabel="time (UTC)" if series["kind"] == "time" else "place in the input", ylabel="refusals, %")
        plot.axes.set_ylim(bottom=0)
        if series["kind"] == "position":
            plot.axes.xaxis.set_major_formatter(plot.formatter(_thousands))
            plot.axes.locator_params(axis="x", nbins=5)
        else:
            plot.concise_dates()
    return plot.svg


def lengths(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw which scores conversations of which length have: the darker, the more; a line for the refusal rate."""
    most = max(count for row in rows for count in row["scores"])
    with _drawn() as plot:
        for x, row in enumerate(rows):
            for y, count in enumerate(row["scores"]):
                if count:
                    alpha = 0.12 + 0.88 * math.log1p(count) / math.log1p(most)
                    cell = plot.rectangle((x - 0.5, y / BINS), 1, 1 / BINS, color=_ANSWER, alpha=alpha, linewidth=0)
                    plot.axes.add_patch(cell)
        rates = [row["rate"] for row in rows]
        plot.axes.plot(range(len(rows)), rates, color=_REFUSAL, marker=".", linewidth=1.2, label="refusal rate")
        plot.axes.set(xlabel="tokens", ylabel="score", xlim=(-0.5, len(rows) - 0.5), ylim=(0, 1))
        every = max(1, -(-len(rows) // 6))
        ticks = range(0, len(rows), every)
        plot.axes.set_xticks(ticks, [_span(rows[i]) for i in ticks])
        plot.axes.grid(visible=False)
    return plot.svg


class _drawn:  # noqa: N801  (used as a statement)
    """An empty plot that becomes SVG at the end of its block.

    Attributes:
        axes: Where to draw.
        svg: The finished plot.
    """

    def __init__(self) -> None:
        matplotlib = need("matplotlib", "report", "a report's plots")
        self._style = matplotlib.rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "svg"})
        self.rectangle = need("matplotlib.patches", "report", "a report's plots").Rectangle
        self.formatter = need("matplotlib.ticker", "report", "a report's plots").FuncFormatter
        self._dates = need("matplotlib.dates", "report", "a report's plots")
        self.svg = ""

    def __enter__(self) -> "_drawn":
        self._style.__enter__()
        figure = need("matplotlib.figure", "report", "a report's plots").Figure
        self._figure = figure(figsize=_SIZE, layout="constrained")
        self.axes: Any = self._figure.add_subplot()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            written = io.StringIO()
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            self._figure.savefig(written, format="svg", metadata=nothing)
            self.svg = _embeddable(written.getvalue())
        self._style.__exit__(kind, error, trace)

    def moment(self, text: str) -> float:
        """Return the place on a time axis of a time in ISO 8601."""
        return float(self._dates.datestr2num(text.removesuffix("Z")))

    def concise_dates(self) -> None:
        """Label the horizontal axis with dates."""
        locator = self._dates.AutoDateLocator(minticks=2, maxticks=6)
        self.axes.xaxis.set_major_locator(locator)
        self.axes.xaxis.set_major_formatter(self._dates.ConciseDateFormatter(locator))


def _embeddable(svg: str) -> str:
    """Return an SVG file as part of a page: no prologue, ids of its own, sizes and colours left to the page."""
    svg = svg[svg.index("<svg") :]
    own = f"p{zlib.crc32(svg.encode()):08x}"
    svg = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\1{own}-", svg)
    svg = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', svg, count=1, flags=re.DOTALL)
    svg = svg.replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def _thousands(value: float, _: int) -> str:
    return f"{value:,.0f}"


def _span(row: Mapping[str, Any]) -> str:
    return f"{row['from']:,}"
