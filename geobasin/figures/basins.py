"""Figures of basins: which class a point on the sphere falls to."""

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from geobasin.figures.style import Palette, Plate, axes
from geobasin.simplex import regular_simplex, rigid_vertices, score_rigid

# Radians between the axis towards the reader and each class's centroid.
_TILT = 0.75


def basin_map(classes: int = 4, radius: float = 0.35, feature_weight: float = 0.5) -> Plate:
    """The front half of the unit sphere, coloured by the class whose basin a point falls into.

    Each class is a rigid triangle (k = 2) in three dimensions; a point z is scored by
    ``w cos(z, centroid) - (1 - w) min_j |z - v_j|``.

    Args:
        classes: number of classes, 2 to 6.
        radius: of the triangles, above 0.
        feature_weight: w, 0 (nearest vertex alone) to 1 (centroid alone).

    Returns:
        The figure.
    """
    azimuth = torch.arange(classes) * 2 * torch.pi / classes + 0.3
    tilt = torch.full((classes,), _TILT)
    centroids = torch.stack(
        [tilt.sin() * azimuth.cos(), tilt.sin() * azimuth.sin(), tilt.cos()], dim=1
    )
    radii = torch.full((classes,), radius)
    frame = torch.eye(3)[:, :2].contiguous()
    side = np.linspace(-1, 1, 301)
    x, y = np.meshgrid(side, side)
    inside = x**2 + y**2 <= 1
    planar = np.minimum(x[inside] ** 2 + y[inside] ** 2, 1)
    z = np.stack([x[inside], y[inside], np.sqrt(1 - planar)], axis=1)
    points = torch.from_numpy(z).float()
    scores = score_rigid(points, centroids, radii, frame, regular_simplex(2))
    winner = (feature_weight * scores.cosine - (1 - feature_weight) * scores.distance).argmax(1)
    regions = np.full(x.shape, np.nan)
    regions[inside] = winner.numpy()
    triangles = rigid_vertices(centroids, radii, frame).numpy()

    def draw(palette: Palette) -> Figure:
        figure, (panel,) = axes(palette, width=4.2, height=4.0)
        colours = palette.cycle(classes)
        panel.pcolormesh(
            side,
            side,
            regions,
            cmap=ListedColormap(colours),
            vmin=-0.5,
            vmax=classes - 0.5,
            alpha=0.35,
            rasterized=True,
        )
        for label, (triangle, colour) in enumerate(zip(triangles, colours, strict=True)):
            corners = np.concatenate([triangle, triangle[:1]])
            panel.plot(corners[:, 0], corners[:, 1], color=colour, marker="o", markersize=4)
            centre = triangle.mean(0)
            panel.annotate(f"class {label}", centre[:2], ha="center", va="center", fontsize=9)
        panel.set_aspect("equal")
        panel.set_xlabel("first coordinate of z")
        panel.set_ylabel("second coordinate of z")
        panel.grid(visible=False)
        return figure

    shares = torch.bincount(winner, minlength=classes) / len(winner)
    parts = ", ".join(f"class {label} {share:.0%}" for label, share in enumerate(shares.tolist()))
    return Plate(
        draw,
        f"The front half of a sphere with {classes} triangles on it, coloured by the basins of "
        f"their classes; seen from the front they take {parts} of the disc.",
    )
