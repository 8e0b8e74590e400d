"""The gate: what it measures, and what it lets pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from demur.errors import ParityError
from demur_export import parity


def near(**changed: float) -> parity.Parity:
    """A bundle on every limit, but for what is changed."""
    figures = {"texts": 1000, "label_flips": 5, "max_dp": 0.1, "mean_dp": 0.003, "max_dlogit": 9.0, "sure_flips": 0}
    return parity.Parity(**(figures | changed))  # type: ignore[arg-type]


def test_a_bundle_on_every_limit_passes() -> None:
    assert parity.passes(near())


@pytest.mark.parametrize(
    "changed",
    [
        {"label_flips": 6},
        {"texts": 999},
        {"sure_flips": 1},
        {"max_dp": 0.1001},
        {"mean_dp": 0.003001},
        {"mean_dp": float("nan"), "max_dp": float("nan")},
    ],
)
def test_a_bundle_beyond_one_limit_does_not(changed: dict[str, float]) -> None:
    assert not parity.passes(near(**changed))


def test_a_search_can_leave_room() -> None:
    assert not parity.passes(near(), share=0.8)
    assert parity.passes(near(max_dp=0.08, mean_dp=0.0024), share=0.8)


def test_the_fp32_graph_has_limits_of_its_own_and_every_broken_one_is_named() -> None:
    parity.check_graph(near(label_flips=0, max_dp=1e-3, mean_dp=1e-4))
    with pytest.raises(ParityError, match=r"1000 texts: label flips 5 \(limit 0\), max \|dp\| 0.1 \(limit 0.001\), m"):
        parity.check_graph(near())


def test_figures_are_of_the_refusals_probability() -> None:
    found = np.array([[0.0, 1.0], [2.0, 0.0], [0.1, 0.0]], np.float32)
    true = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.1]], np.float32)
    result = parity.compare(found, true, refusal=1)
    assert (result.texts, result.label_flips, result.sure_flips) == (3, 1, 0)
    assert result.max_dp == pytest.approx(0.04996, abs=1e-4)
    assert result.mean_dp == pytest.approx(0.04996 / 3, abs=1e-4)
    assert result.max_dlogit == pytest.approx(0.1)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_flip_counts_as_sure_where_pytorch_gives_its_label_more_than_nine_tenths(sign: int) -> None:
    found = np.array([[0.0, -0.1 * sign]] * 2, np.float32)
    true = np.array([[0.0, 2.19 * sign], [0.0, 2.21 * sign]], np.float32)  # 0.899 and 0.901
    result = parity.compare(found, true, refusal=1)
    assert (result.label_flips, result.sure_flips) == (2, 1)


_LOGITS = arrays(np.float32, (7, 2), elements=st.floats(-30, 30, width=32))


@given(_LOGITS, _LOGITS)
def test_the_distance_of_two_labels_is_the_gates_mean(found: np.ndarray, true: np.ndarray) -> None:
    assert parity.distance(found, true) == pytest.approx(parity.compare(found, true, 0).mean_dp, abs=1e-12)
    assert parity.distance(found, true) == pytest.approx(parity.compare(found, true, 1).mean_dp, abs=1e-12)
