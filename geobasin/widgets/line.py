"""The Cantor line of the live figures without a trained model: one axis of their space."""

import torch

from geobasin.cantor import CantorStaircase

# Steep enough that the unit sphere covers nearly the whole line.
_SLOPE = 2.0


def first_axis_line(dim: int) -> CantorStaircase:
    """The staircase of chapter 1 with a place that is read along the first axis.

    Args:
        dim: dimension of the points.

    Returns:
        A staircase in double precision with ``w = (2, 0, ..., 0)`` and ``b = 0``.
    """
    stairs = CantorStaircase(dim).double()
    with torch.no_grad():
        stairs.feature_to_position.weight.zero_()
        stairs.feature_to_position.weight[0, 0] = _SLOPE
        stairs.feature_to_position.bias.zero_()
    return stairs


def line_settings() -> dict[str, float]:
    """The numbers of :func:`first_axis_line` that a figure's script needs.

    Returns:
        ``alpha``, ``tau``, ``levels``, ``reach`` and ``slope``.
    """
    stairs = first_axis_line(1)
    return {
        "alpha": stairs.alpha.item(),
        "tau": stairs.tau,
        "levels": stairs.levels,
        "reach": stairs.reach,
        "slope": _SLOPE,
    }
