"""Figures of chapter 2: a simplex of many dimensions, seen in the plane."""

import math
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from geobasin.figures.style import Palette, Plate, axes

# How far the reader looks down on the simplex: 0 is along its axis, pi/2 from the side.
_TILT = 0.9


def regular_polygons(k: int) -> NDArray[np.float64]:
    """The regular k-simplex as a regular polygon with k + 1 corners, and then as its stars.

    Vertex j has the coordinates ``sqrt(2/k) (cos, sin)(2 pi m j / (k + 1))`` for m = 1, 2, ... and,
    where k is odd, ``(-1)^j / sqrt(k)`` last (Coxeter, Regular Polytopes, chapter 12).

    Args:
        k: dimension, at least 2.

    Returns:
        Unit vertices, [k + 1, k], with the inner products -1/k.
    """
    vertex = np.arange(k + 1, dtype=np.float64)
    columns: list[NDArray[Any]] = []
    for m in range(1, k // 2 + 1):
        turn = 2 * math.pi * m * vertex / (k + 1)
        columns += [math.sqrt(2 / k) * np.cos(turn), math.sqrt(2 / k) * np.sin(turn)]
    if k % 2:
        columns.append((-1.0) ** vertex / math.sqrt(k))
    return np.stack(columns, axis=1)


def turned_view(corners: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Two orthonormal directions to look at a simplex in, after a turn through all its dimensions.

    The space is R^(k+1): the simplex lies in the first k axes, its class's centroid on the last,
    which always points upwards in the picture.

    Args:
        corners: the regular k-simplex, [k + 1, k].
        angle: of the turn, in rad; 0 shows a regular polygon.

    Returns:
        Directions across and up, [2, k + 1].
    """
    k = corners.shape[1]
    rows = np.eye(k)[:2]
    cosine, sine = math.cos(angle), math.sin(angle)
    for axis in range(k - 1):
        first, second = rows[:, axis].copy(), rows[:, axis + 1].copy()
        rows[:, axis] = cosine * first - sine * second
        rows[:, axis + 1] = sine * first + cosine * second
    # Both sets of coordinates have the same inner products, so an orthogonal matrix joins them.
    flat = rows @ regular_polygons(k).T @ corners * k / (k + 1)
    view = np.zeros((2, k + 1))
    view[:, :k] = flat
    view[1] *= math.cos(_TILT)
    view[1, k] = math.sin(_TILT)
    return view


def simplex_and_feature(
    corners: NDArray[np.float64],
    radius: float,
    feature: NDArray[np.float64],
    angle: float,
    words: str,
) -> Plate:
    """Draw a class simplex around its centroid and a feature on the unit sphere.

    Args:
        corners: the regular k-simplex, [k + 1, k].
        radius: of the class simplex, above 0.
        feature: unit vector, [k + 1].
        angle: as in :func:`turned_view`.
        words: what is known of the feature's scores, for the picture's description.

    Returns:
        The figure.
    """
    k = corners.shape[1]
    view = turned_view(corners, angle)
    vertices = np.concatenate([radius * corners, np.ones((k + 1, 1))], axis=1)
    nearest = int(np.linalg.norm(vertices - feature, axis=1).argmin())
    seen = vertices @ view.T
    tip, here = (tuple((view @ vector).tolist()) for vector in (np.eye(k + 1)[k], feature))
    first, second = np.triu_indices(k + 1, 1)

    def draw(palette: Palette) -> Figure:
        figure, (panel,) = axes(palette, width=4.0, height=4.2)
        panel.add_patch(Circle((0, 0), 1, fill=False, color=palette.muted, linewidth=1))
        edges = np.stack([seen[first], seen[second]], axis=1)
        blue, orange = palette.series[:2]
        panel.add_collection(LineCollection(list(edges), colors=blue, linewidths=1, alpha=0.6))
        panel.plot(seen[:, 0], seen[:, 1], "o", color=blue, markersize=5)
        panel.plot(*seen[nearest], "o", color=orange, markersize=9)
        panel.plot([0, tip[0]], [0, tip[1]], color=palette.muted, linestyle="--")
        panel.annotate("centroid", tip, xytext=(6, 0), textcoords="offset points")
        panel.plot([0, here[0]], [0, here[1]], color=palette.ink)
        panel.plot(*here, "o", color=palette.paper, mec=palette.ink, mew=2, markersize=10)
        panel.annotate("feature", here, xytext=(8, -4), textcoords="offset points")
        panel.set_xlim(-1.06, 1.06)
        panel.set_ylim(-1.06, 1.36)
        panel.set_aspect("equal")
        panel.set_xlabel("across")
        panel.set_ylabel("up")
        panel.grid(visible=False)
        return figure

    return Plate(
        draw,
        f"A regular {k}-simplex with {k + 1} vertices around its class's centroid, projected to "
        f"the plane, and a feature on the unit sphere. {words}",
    )
