"""Figures of chapter 1: the Cantor function and its soft staircase."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geobasin.cantor import CantorStaircase, cantor_function
from geobasin.figures.style import Palette, Plate, axes

_POINTS = 1459


def staircase_values(
    x: NDArray[np.float64], alpha: float, tau: float, levels: int
) -> NDArray[np.float64]:
    """Heights of the soft staircase in double precision.

    Args:
        x: places in [0, 1], any shape S.
        alpha: height of the middle third.
        tau: temperature of the digit assignment, above 0.
        levels: depth of the recursion, 1 to 16.

    Returns:
        kappa_L(x), shape S.

    Raises:
        GeoBasinError: a setting outside its range.
    """
    stairs = CantorStaircase(1, tau=tau, levels=levels).double()
    with torch.no_grad():
        # Set after the cast: a float32 alpha would already be off by 1e-8.
        stairs.alpha.fill_(alpha)
        return stairs.staircase(torch.from_numpy(x)).numpy()


def soft_staircase(alpha: float = 0.5, tau: float = 0.25, levels: int = 4) -> Plate:
    """Draw one soft staircase over the exact Cantor function.

    Args:
        alpha: height of the middle third.
        tau: temperature of the digit assignment, above 0.
        levels: depth of the recursion, 1 to 16.

    Returns:
        The figure.

    Raises:
        GeoBasinError: a setting outside its range.
    """
    x = np.linspace(0, 1, _POINTS)
    soft = staircase_values(x, alpha, tau, levels)

    def draw(palette: Palette) -> Figure:
        figure, (axis,) = axes(palette)
        _exact(axis, palette, x)
        axis.plot(x, soft, color=palette.series[0], label=f"soft, {levels} levels")
        _finish(axis)
        return figure

    return Plate(
        draw,
        alt=(
            f"The soft staircase at alpha {alpha:.4g}, tau {tau:.4g} and {levels} levels, from "
            f"{soft[0]:.2f} at x = 0 to {soft[-1]:.2f} at x = 1, drawn over the exact Cantor "
            f"function; the largest gap is {np.abs(soft - cantor_function(x)).max():.2f}."
        ),
    )


def alpha_family(alphas: Sequence[float], tau: float = 0.02, levels: int = 6) -> Plate:
    """Draw soft staircases of several alphas over the exact Cantor function.

    Args:
        alphas: heights of the middle third, at most six.
        tau: temperature of the digit assignment, above 0.
        levels: depth of the recursion, 1 to 16.

    Returns:
        The figure.

    Raises:
        GeoBasinError: a setting outside its range.
    """
    x = np.linspace(0, 1, _POINTS)
    curves = [staircase_values(x, alpha, tau, levels) for alpha in alphas]
    middle = [
        f"{curve[_POINTS // 2]:.2f} for alpha {alpha:.4g}"
        for alpha, curve in zip(alphas, curves, strict=True)
    ]

    def draw(palette: Palette) -> Figure:
        figure, (axis,) = axes(palette)
        _exact(axis, palette, x)
        for alpha, curve, colour in zip(alphas, curves, palette.series, strict=False):
            axis.plot(x, curve, color=colour, label=f"alpha {alpha:.4g}", linewidth=1.3)
        _finish(axis)
        return figure

    return Plate(
        draw,
        alt=(
            f"Soft staircases at tau {tau:.4g} and {levels} levels over the exact Cantor function. "
            f"At x = 1/2 their heights are {', '.join(middle)}; only alpha 0.5 joins its "
            "neighbours without a jump."
        ),
    )


def _exact(axis: Axes, palette: Palette, x: NDArray[np.float64]) -> None:
    axis.plot(x, cantor_function(x), color=palette.muted, linewidth=3.2, alpha=0.55, label="exact")


def _finish(axis: Axes) -> None:
    axis.set_xlabel("place x on the line")
    axis.set_ylabel("height")
    axis.set_xticks([0, 1 / 3, 2 / 3, 1], ["0", "1/3", "2/3", "1"])
    axis.margins(x=0.01)
    axis.legend(loc="upper left")
