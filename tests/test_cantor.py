"""The Cantor function against exact rationals, and the staircase against its formula."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geobasin.cantor import CantorStaircase, cantor_function, ternary_digits
from geobasin.errors import GeoBasinError

unit = st.floats(0, 1)


def slow_cantor(x: Fraction, digits: int = 200) -> Fraction:
    """The function by its three-branch definition, cut after so many digits."""
    if digits == 0:
        return Fraction(1, 2)
    if 3 * x < 1:
        return slow_cantor(3 * x, digits - 1) / 2
    if 3 * x > 2:
        return (1 + slow_cantor(3 * x - 2, digits - 1)) / 2
    return Fraction(1, 2)


def slow_staircase(x: float, alpha: float, tau: float, levels: int) -> float:
    """kappa_L(x), written out from the recursion with plain floats."""
    weights = [math.exp(-((3 * x - c) ** 2) / tau) for c in (0.5, 1.5, 2.5)]
    left, middle, right = (weight / sum(weights) for weight in weights)
    if levels == 1:
        return alpha * middle + right
    below = slow_staircase(min(max(3 * x, 0), 1), alpha, tau, levels - 1)
    above = slow_staircase(min(max(3 * x - 2, 0), 1), alpha, tau, levels - 1)
    return left * below / 2 + alpha * middle + right * (1 + above) / 2


def staircase(levels: int, tau: float = 0.25, alpha: float = 0.5) -> CantorStaircase:
    return CantorStaircase(3, alpha_init=alpha, tau=tau, levels=levels).double()


@pytest.mark.parametrize(
    ("x", "value"),
    [
        (Fraction(0), Fraction(0)),
        (Fraction(1), Fraction(1)),
        (Fraction(1, 4), Fraction(1, 3)),
        (Fraction(3, 10), Fraction(2, 5)),
        (Fraction(1, 13), Fraction(1, 7)),
        (Fraction(1, 3), Fraction(1, 2)),
        (Fraction(2, 3), Fraction(1, 2)),
        (Fraction(8, 9), Fraction(3, 4)),
    ],
)
def test_rationals_have_their_known_values(x: Fraction, value: Fraction) -> None:
    assert cantor_function(x) == value


@given(st.fractions(0, 1, max_denominator=500))
def test_rationals_agree_with_the_three_branch_definition(x: Fraction) -> None:
    assert abs(cantor_function(x) - slow_cantor(x)) <= Fraction(1, 2**199)


@given(st.fractions(0, 1, max_denominator=500))
def test_rationals_are_self_similar_and_symmetric(x: Fraction) -> None:
    assert cantor_function(x / 3) == cantor_function(x) / 2
    assert cantor_function((x + 2) / 3) == (1 + cantor_function(x)) / 2
    assert cantor_function(1 - x) == 1 - cantor_function(x)


@given(st.lists(st.one_of(unit, st.floats(0, 1e-12)), min_size=1, max_size=20))
def test_float_arrays_are_exact_to_the_last_digits(values: list[float]) -> None:
    found = cantor_function(np.array(values))
    exact = np.array([float(slow_cantor(Fraction(value))) for value in values])
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-15)
    assert cantor_function(values[0]) == found[0]


@pytest.mark.parametrize("x", [-0.1, 1.5, math.nan, Fraction(4, 3)])
def test_outside_the_interval_is_refused(x: float | Fraction) -> None:
    with pytest.raises(GeoBasinError, match=r"\[0, 1\]"):
        cantor_function(x)


def test_ternary_digits_rebuild_the_number() -> None:
    x = np.random.default_rng(0).random(100)
    digits = ternary_digits(x, 25)
    assert set(np.unique(digits)) <= {0, 1, 2}
    np.testing.assert_allclose(digits @ 3.0 ** -np.arange(1, 26), x, atol=1e-11)


@given(unit, st.floats(-0.5, 1.5), st.floats(0.01, 2), st.integers(1, 6))
def test_staircase_equals_the_recursion(x: float, alpha: float, tau: float, levels: int) -> None:
    found = staircase(levels, tau, alpha).staircase(torch.tensor([x], dtype=torch.float64))
    # The staircase holds alpha in float32, as the published state dict does.
    alpha = float(torch.tensor(alpha))
    assert found.item() == pytest.approx(slow_staircase(x, alpha, tau, levels), abs=1e-9)


@pytest.mark.parametrize("levels", range(1, 9))
def test_staircase_tends_to_the_cantor_function(levels: int) -> None:
    x = torch.linspace(0, 1, 30_001, dtype=torch.float64)
    found = staircase(levels, tau=1e-4).staircase(x).detach().numpy()
    assert np.abs(found - cantor_function(x.numpy())).max() <= 2.0**-levels + 1e-3


@given(unit, st.integers(1, 6), st.floats(0.01, 1))
def test_staircase_is_symmetric_at_one_half(x: float, levels: int, tau: float) -> None:
    kappa = staircase(levels, tau).staircase(torch.tensor([x, 1 - x], dtype=torch.float64))
    assert kappa.sum().item() == pytest.approx(1, abs=1e-9)


@given(st.floats(0.05, 0.95), st.integers(1, 6))
def test_cold_staircase_is_self_similar(x: float, levels: int) -> None:
    whole = staircase(levels, tau=1e-4).staircase(torch.tensor([x], dtype=torch.float64))
    thirds = torch.tensor([x / 3, (x + 2) / 3], dtype=torch.float64)
    left, right = staircase(levels + 1, tau=1e-4).staircase(thirds)
    assert left.item() == pytest.approx(whole.item() / 2, abs=1e-6)
    assert right.item() == pytest.approx((1 + whole.item()) / 2, abs=1e-6)


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_first_level_rises_for_every_alpha_between_0_and_1(alpha: float, tau: float) -> None:
    x = torch.linspace(0, 1, 301, dtype=torch.float64)
    assert staircase(1, tau, alpha).staircase(x).diff().min() >= -1e-12


@given(st.integers(2, 6), st.floats(0.01, 1))
def test_deeper_levels_rise_at_one_half(levels: int, tau: float) -> None:
    x = torch.linspace(0, 1, 301, dtype=torch.float64)
    assert staircase(levels, tau).staircase(x).diff().min() >= -1e-12


def test_deeper_levels_need_not_rise_elsewhere() -> None:
    # At alpha = 0 the left third climbs to 1/2 and the middle third falls back to 0.
    x = torch.linspace(0, 1, 301, dtype=torch.float64)
    assert staircase(2, 0.01, alpha=0.0).staircase(x).diff().min() < -1e-3


@given(st.integers(1, 5), st.floats(0.05, 1), st.floats(-0.5, 1.5))
def test_gradients_are_finite_and_right(levels: int, tau: float, alpha: float) -> None:
    stairs = staircase(levels, tau, alpha)
    # Away from 1/3 and 2/3, where clip has corners.
    x = torch.tensor([0.05, 0.2, 0.5, 0.81, 0.95], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(stairs.staircase, (x,), atol=1e-4)
    edges = torch.tensor([0.0, 1 / 9, 1 / 3, 2 / 3, 1.0], dtype=torch.float64, requires_grad=True)
    (gradient, alpha_gradient) = torch.autograd.grad(
        stairs.staircase(edges).sum(), (edges, stairs.alpha)
    )
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(alpha_gradient)


def test_place_depends_on_the_row_alone_unless_positions_are_given() -> None:
    stairs = CantorStaircase(4, reach=0.3)
    features = torch.randn(5, 4)
    alone = torch.cat([stairs(row.unsqueeze(0)) for row in features])
    torch.testing.assert_close(stairs(features), alone)
    positions = torch.linspace(0, 1, 5)
    shift = stairs.feature_to_position(features).squeeze(1).tanh()
    expected = (positions + 0.3 * shift).clamp(1e-6, 1 - 1e-6)
    torch.testing.assert_close(stairs.place(features, positions), expected)


@pytest.mark.parametrize(
    "settings", [{"tau": 0.0}, {"levels": 0}, {"levels": 17}, {"reach": 0.0}, {"feature_dim": 0}]
)
def test_settings_outside_their_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(GeoBasinError, match=next(iter(settings))):
        CantorStaircase(**({"feature_dim": 3} | settings))
