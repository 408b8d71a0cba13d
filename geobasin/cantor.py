"""The Cantor function, exactly, and its soft, learnable staircase."""

from fractions import Fraction
from typing import overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from geobasin.errors import GeoBasinError

# 2^-64 is below the spacing of float64 near 1, so further ternary digits change nothing.
_DIGITS = 64
_EDGE = 1e-6


@overload
def cantor_function(x: int | Fraction) -> Fraction: ...
@overload
def cantor_function(x: float) -> float: ...
@overload
def cantor_function(x: NDArray[np.floating]) -> NDArray[np.float64]: ...
def cantor_function(
    x: int | Fraction | float | NDArray[np.floating],
) -> Fraction | float | NDArray[np.float64]:
    """The Cantor function c (the devil's staircase) on [0, 1].

    Write x in base three; up to the first digit 1, replace every 2 by 1 and keep that first 1;
    read the result in base two. Equivalently ``c(x) = c(3x)/2`` on the left third, ``1/2`` on the
    middle third and ``1/2 + c(3x - 2)/2`` on the right third (Cantor 1884; Dovgoshey et al. 2006).

    Args:
        x: a number or an array of numbers in [0, 1].

    Returns:
        For an ``int`` or a ``Fraction`` the exact rational value; for a ``float`` a float and for
        an array a float64 array of its shape, both within 1e-15 of the exact value at that float.

    Raises:
        GeoBasinError: a value is outside [0, 1] or not a number.
    """
    if isinstance(x, int | Fraction):
        return _cantor_of_rational(Fraction(x))
    values = _cantor_of_floats(np.asarray(x, dtype=np.float64))
    return values if isinstance(x, np.ndarray) else float(values)


def _cantor_of_rational(x: Fraction) -> Fraction:
    if not 0 <= x <= 1:
        raise GeoBasinError(f"the Cantor function is defined on [0, 1], not at {x}")
    if x == 1:
        return Fraction(1)
    value, weight = Fraction(0), Fraction(1, 2)
    seen: dict[Fraction, tuple[Fraction, Fraction]] = {}
    while x not in seen:
        seen[x] = (value, weight)
        digit, x = divmod(3 * x, 1)
        if digit == 1:
            return value + weight
        value += weight * int(digit) / 2
        weight /= 2
    # The digits repeat from here on, so the tail is a geometric series.
    start_value, start_weight = seen[x]
    return start_value + (value - start_value) / (1 - weight / start_weight)


def _cantor_of_floats(x: NDArray[np.float64]) -> NDArray[np.float64]:
    if not ((x >= 0) & (x <= 1)).all():
        raise GeoBasinError("the Cantor function is defined on [0, 1]; clip the values first")
    # 3x - digit loses bits in one float64, and c turns an error e into e^0.63, so the remainder
    # is carried as an unevaluated sum high + low (Knuth's two-sum), which keeps it exact.
    high, low = x.copy(), np.zeros_like(x)
    value, weight = np.zeros_like(x), 0.5
    open_ = x < 1
    value[~open_] = 1.0
    for _ in range(_DIGITS):
        high, error = _two_sum(2 * high, high)
        high, low = _two_sum(high, 3 * low + error)
        digit = _at_least(high, low, 1.0).astype(np.float64) + _at_least(high, low, 2.0)
        high, low = _two_sum(high - digit, low)
        value += weight * (open_ & (digit > 0))
        open_ &= digit != 1
        weight /= 2
    return value


def _two_sum(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total = a + b
    rest = total - a
    return total, (a - (total - rest)) + (b - rest)


def _at_least(
    high: NDArray[np.float64], low: NDArray[np.float64], bound: float
) -> NDArray[np.bool_]:
    return (high > bound) | ((high == bound) & (low >= 0))


def ternary_digits(x: ArrayLike, count: int) -> NDArray[np.int64]:
    """The first ternary digits of numbers in [0, 1).

    Args:
        x: numbers, any shape S.
        count: how many digits, at most 30 for float64 to stay meaningful.

    Returns:
        Digits 0, 1 or 2, shape ``S + (count,)``, the most significant first.
    """
    rest = np.asarray(x, dtype=np.float64)
    digits = []
    for _ in range(count):
        rest = 3 * rest
        digit = np.minimum(np.floor(rest), 2)
        rest = rest - digit
        digits.append(digit.astype(np.int64))
    return np.stack(digits, axis=-1)


class CantorStaircase(nn.Module):
    """Gives every feature a place x on the line and its height kappa(x) on a soft staircase.

    With ``p(x) = softmax(-(3x - c)^2 / tau)`` over the centres ``c = (0.5, 1.5, 2.5)``::

        kappa_1(x) = alpha p_mid + p_right
        kappa_L(x) = p_left kappa_{L-1}(clip(3x))/2 + alpha p_mid
                     + p_right (1 + kappa_{L-1}(clip(3x - 2)))/2

    ``levels=1`` is the formula of the GeoFractalDavid model card's code; at ``alpha = 1/2``,
    ``tau -> 0``, ``levels -> infinity`` kappa is the Cantor function. The place of a feature f is
    ``x = clamp(p + reach tanh(w.f + b), 1e-6, 1 - 1e-6)`` with ``p = 1/2``, so that it depends on
    that feature alone; the published model used ``p = i/(B-1)``, the row's place in its batch.

    Args:
        feature_dim: width D of the features.
        alpha_init: start of the learnable height of the middle third.
        tau: temperature of the digit assignment, above 0.
        levels: depth L of the recursion, 1 to 16; kappa costs 2^L evaluations a row.
        reach: how far a feature can move from p, above 0; 1/2 reaches the whole line.

    Raises:
        GeoBasinError: a setting outside its range.
    """

    centers: Tensor

    def __init__(
        self,
        feature_dim: int,
        alpha_init: float = 0.5,
        tau: float = 0.25,
        levels: int = 4,
        reach: float = 0.5,
    ) -> None:
        super().__init__()
        if feature_dim < 1:
            raise GeoBasinError(f"feature_dim must be at least 1, not {feature_dim}")
        if not tau > 0:
            raise GeoBasinError(f"tau must be above 0, not {tau}")
        if not 1 <= levels <= 16:
            raise GeoBasinError(f"levels must be 1 to 16, not {levels}")
        if not reach > 0:
            raise GeoBasinError(f"reach must be above 0, not {reach}")
        self.tau = tau
        self.levels = levels
        self.reach = reach
        self.alpha = nn.Parameter(torch.tensor(float(alpha_init)))
        self.register_buffer("centers", torch.tensor([0.5, 1.5, 2.5]))
        self.feature_to_position = nn.Linear(feature_dim, 1)

    def digit_distribution(self, x: Tensor) -> Tensor:
        """Soft first ternary digit of x.

        Args:
            x: places on the line, any shape S, in [0, 1].

        Returns:
            ``p_left, p_mid, p_right``, shape ``S + (3,)``, rows summing to 1.
        """
        centers = self.centers.to(x.dtype)
        return torch.softmax(-((3 * x.unsqueeze(-1) - centers) ** 2) / self.tau, dim=-1)

    def staircase(self, x: Tensor) -> Tensor:
        """Height kappa_L(x) of the soft staircase.

        Args:
            x: places on the line, any shape S, in [0, 1].

        Returns:
            Heights, shape S; in [0, 1] where ``0 <= alpha <= 1``. Differentiable in x and alpha.
        """
        # The 2^d arguments met at depth d stand side by side, left child before right child.
        arguments = [x.unsqueeze(-1)]
        for _ in range(self.levels - 1):
            tripled = 3 * arguments[-1]
            children = torch.stack([tripled, tripled - 2], dim=-1).clamp(0, 1)
            arguments.append(children.flatten(-2))
        alpha = self.alpha.to(x.dtype)
        left, middle, right = self.digit_distribution(arguments.pop()).unbind(-1)
        height = alpha * middle + right
        while arguments:
            left, middle, right = self.digit_distribution(arguments.pop()).unbind(-1)
            below, above = height.unflatten(-1, (-1, 2)).unbind(-1)
            height = left * below / 2 + alpha * middle + right * (1 + above) / 2
        return height.squeeze(-1)

    def place(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """Place of each feature on the line.

        Args:
            features: [B, D].
            positions: base places p, [B] in [0, 1]; 1/2 for every row where not given.

        Returns:
            x, [B], in [1e-6, 1 - 1e-6].
        """
        shift = self.reach * torch.tanh(self.feature_to_position(features).squeeze(-1))
        base = 0.5 if positions is None else positions.to(shift.dtype)
        return (base + shift).clamp(_EDGE, 1 - _EDGE)

    def forward(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """Cantor value kappa of each feature.

        Args:
            features: [B, D].
            positions: as in :meth:`place`.

        Returns:
            kappa, [B].
        """
        return self.staircase(self.place(features, positions))
