"""Walks through recipes, from fast to exact, and takes the first that keeps the gate's limits."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from demur.errors import ParityError
from demur_export import parity, quantize, sensitivity
from demur_export.parity import Parity
from demur_export.quantize import Calibrated, Quantised
from demur_export.run import Texts

AUTO = "auto"
# What of the limit on the mean |dp| a search may use up: it looks at other texts than the gate.
_SHARE = 0.9


@dataclass(frozen=True)
class Try:
    """One bundle that was made, and how far it is from PyTorch on texts that quantisation has not seen."""

    recipe: str
    made: Quantised
    size: int  # bytes of the graph
    parity: Parity

    def record(self) -> dict[str, Any]:
        """Return what `demur.json` keeps of it."""
        found = self.parity
        return {
            "recipe": self.recipe,
            "products in 8 bits": self.made.products,
            "products left in fp32": list(self.made.left),
            "inputs smoothed": self.made.smoothed,
            "inputs with fixed scales": self.made.fixed,
            "bytes": self.size,
            "label_flips": found.label_flips,
            "sure_flips": found.sure_flips,
            "max_dp": found.max_dp,
            "mean_dp": found.mean_dp,
            "within_gate": parity.passes(found),
        }


def walk(
    recipe: str,
    model: onnx.ModelProto,
    calibration: Texts,
    refusal: int,
    judge: Callable[[str, Quantised], Try],
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Try | None, list[Try]]:
    """Make one bundle after another until one passes.

    Args:
        recipe: `auto`, or the one recipe to try, in all its variants.
        model: The fp32 graph.
        calibration: Token ids `[1, n]` of the texts to calibrate on.
        refusal: The output whose probability is compared.
        judge: Writes a bundle and compares it with PyTorch on other texts.
        say: Called with a line before what takes minutes on a large model.

    Returns:
        The one that passed, if any, and all that were tried; the last one tried is the one that was written last.
    """
    tried: list[Try] = []
    for name, made in _candidates(recipe, model, calibration, tried, say):
        tried.append(judge(name, made))
        if parity.passes(tried[-1].parity):
            return tried[-1], tried
    return None, tried


def nearest(tried: list[Try]) -> Try | None:
    """Return the one with the least mean |dp|; None if none gives numbers, as fp16 may not."""
    finite = [one for one in tried if math.isfinite(one.parity.mean_dp)]
    return min(finite, key=lambda one: one.parity.mean_dp, default=None)


def table(records: list[dict[str, Any]], texts: int) -> str:
    """Return what was tried, with its figures and their limits, as a Markdown table.

    Args:
        records: One for each, as `Try.record` gives them.
        texts: How many texts were compared.
    """
    flips, max_dp, mean_dp = parity.QUANTISED_LIMITS
    lines = [
        "| recipe | products in 8 bits | left in fp32 | scales fixed ahead | MB | label flips | of them sure | "
        "max abs. dp | mean abs. dp | within the gate |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in records:
        within = "yes" if one["within_gate"] else "no"
        lines.append(
            f"| `{one['recipe']}` | {one['products in 8 bits']} | {len(one['products left in fp32'])} | "
            f"{one['inputs with fixed scales']} | {one['bytes'] / 1e6:.1f} | {one['label_flips']} | "
            f"{one['sure_flips']} | {one['max_dp']:.4f} | {one['mean_dp']:.5f} | {within} |"
        )
    limit = f"| limit on {texts} texts | | | | | {int(flips * texts)} | 0 | {max_dp:.4f} | {mean_dp:.5f} | |"
    return "\n".join([*lines, limit])


def failure(recipe: str, tried: list[Try], pruned: bool) -> ParityError:
    """Return the error of a walk on which nothing passed.

    Args:
        recipe: What was asked for.
        tried: What was tried.
        pruned: Whether the vocabulary was pruned. Texts unlike those that it was pruned for are then read as other
            pieces, which no recipe can be blamed for.
    """
    advice = [] if recipe == AUTO else [f"let --recipe {AUTO} look for one that is near enough"]
    if pruned:
        advice = [
            "the vocabulary was pruned: compare on texts like those of --vocabulary (--texts), give it more of them, "
            "or leave it out"
        ]
    best, texts = nearest(tried), tried[0].parity.texts
    if best is not None:
        advice.append(f"accept the distance with --recipe {best.recipe} --accept")
    return ParityError(
        f"recipe {recipe} falls short of PyTorch on {texts} texts:\n"
        f"{table([one.record() for one in tried], texts)}\n{', or '.join(advice)}"
    )


def _candidates(
    recipe: str, model: onnx.ModelProto, calibration: Texts, tried: Sequence[Try], say: Callable[[str], None]
) -> Iterator[tuple[str, Quantised]]:
    """Yield quantised graphs with their recipe, from the fastest to the most exact; each is made when asked for.

    What comes of one is expected at the end of `tried` when the next is asked for.
    """
    asked = {recipe} if recipe != AUTO else {"int8-row", "int8", "int8-weights", "fp32"}
    if asked & {"int8-row", "int8"}:
        say(f"calibrating on {len(calibration)} texts")
        found = Calibrated(model, calibration)
        if "int8-row" in asked:
            if found.faster is not None:
                yield "int8-row", found.faster
            yield "int8-row", found.rows
            whole = tried[-1].parity
        if "int8" in asked:
            yield "int8", found.tensors
        if "int8-row" in asked:
            say("looking for the fewest products to leave in fp32")
            for made in _with_some_in_fp32(found, whole):
                yield "int8-row", made
    for name in ("int8-weights", "fp16", "fp32"):
        if name in asked:
            yield name, quantize.RECIPES[name](model, calibration)


def _with_some_in_fp32(found: Calibrated, whole: Parity) -> Iterator[Quantised]:
    """Yield graphs with as few products in fp32 as should pass, then with twice as many, to half.

    Args:
        found: The graph and its calibration.
        whole: How far the graph with nothing in fp32 is. Long texts calibrate less often than they judge, and short
            ones differ more: this tells how far apart the two measures are.
    """
    _, _, mean_dp = parity.QUANTISED_LIMITS
    most = _SHARE * mean_dp * found.distance(found.rows) / max(whole.mean_dp, 1e-12)
    order, fewest = sensitivity.left_in_fp32(found, most)
    most_left = len(order) // 2
    while fewest is not None and fewest <= most_left:
        yield found.by_rows(order[:fewest])
        fewest = min(2 * fewest, most_left) if fewest < most_left else None
