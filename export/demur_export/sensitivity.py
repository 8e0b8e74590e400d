"""Finds the fewest products to leave in fp32.

Products are ranked by the damage that each does alone, quantised in an otherwise fp32 graph, and as many of the worst
are left out as are needed: the number is found by bisection, since leaving out more never does harm but by chance.
"""

from collections.abc import Callable

import numpy as np

from demur_export.graph.editor import Editor
from demur_export.quantize import Calibrated
from demur_export.run import logits, thinned

# Of the products with the largest errors of their own, so many are measured in the graph; the others follow in the
# order of those errors. A run for each of a large model's two hundred products would take an hour.
_MEASURED = 40
# Tokens of all texts together that a product's damage is measured on.
_TOKENS = 1500
# Where a graph is so many times farther than it may be with that half of all products in fp32 that has the largest
# errors, none are ranked: that takes half an hour on a large model and does not halve the distance.
_FAR = 2


def by_error(found: Calibrated) -> list[str]:
    """Return the names of all products, those with the largest errors of their own first."""
    products = [(product.name, product.input[0]) for product, _ in Editor(found.model).products()]
    return [name for name, source in sorted(products, key=lambda p: -found.errors[p[1]])]


def ranking(found: Calibrated) -> list[str]:
    """Return the names of all products, those that do the most damage first."""
    names = by_error(found)
    texts = thinned(found.calibration, _TOKENS)
    reference = logits(found.model, texts)

    def damage(name: str) -> float:
        alone = found.by_rows([other for other in names if other != name])
        return float(np.mean((logits(alone.model, texts) - reference) ** 2))

    measured = {name: damage(name) for name in names[:_MEASURED]}
    return sorted(measured, key=lambda name: -measured[name]) + names[_MEASURED:]


def fewest(order: list[str], most: int, passes: Callable[[list[str]], bool]) -> int | None:
    """Return the least n from 1 to `most` with which `passes` accepts the first n of `order`; None if there is none.

    Args:
        order: Names of products, the worst first.
        most: How many may be left out.
        passes: Whether a graph without these quantised is near enough. It is asked about log2(`most`) times.
    """
    if most < 1 or not passes(order[:most]):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(order[:middle]) else (middle, high)
    return high


def left_in_fp32(found: Calibrated, most: float) -> tuple[list[str], int | None]:
    """Return the ranking, and how many of its first have to stay in fp32; None if half of all are not enough.

    Args:
        found: The graph and its calibration.
        most: How far a quantised graph may be, by `Calibrated.distance`.
    """
    order = by_error(found)
    if found.distance(found.by_rows(order[: len(order) // 2])) > _FAR * most:
        return order, None
    order = ranking(found)
    return order, fewest(order, len(order) // 2, lambda left: found.distance(found.by_rows(left)) <= most)
