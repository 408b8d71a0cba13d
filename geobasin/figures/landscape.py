"""Figures of chapter 3: basins with soft borders, on the front of a sphere."""

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from geobasin.cantor import CantorStaircase
from geobasin.figures.style import Palette, Plate, axes
from geobasin.head import GeometricHead

LETTERS = "ABCDE"
_SIDE = 181
_SHADE = 0.42


def front(points: Tensor) -> Tensor:
    """The points of the unit sphere's front half that are seen at places of its disc.

    Args:
        points: places, [..., 2], of length at most 1.

    Returns:
        Unit vectors, [..., 3].
    """
    depth = (1 - points.square().sum(-1, keepdim=True)).clamp_min(0).sqrt()
    return torch.cat([points, depth], dim=-1)


@torch.no_grad()
def basin_probabilities(
    z: Tensor, head: GeometricHead, stairs: CantorStaircase, temperature: float
) -> Tensor:
    """How surely points of the sphere belong to each class, with no projection before them.

    ``softmax(g / T)`` of the compatibilities g of the head's class simplices, with the height
    ``kappa(z)`` of the point itself.

    Args:
        z: unit vectors, [B, s].
        head: the class simplices and the weights of the components.
        stairs: gives z its place on the Cantor line.
        temperature: T, above 0.

    Returns:
        Probabilities, [B, C].
    """
    components = head.components(z, stairs(z))
    compatibilities = torch.einsum("i,ibc->bc", head.component_weights(), components)
    return torch.softmax(compatibilities / temperature, dim=-1)


def landscape(
    head: GeometricHead,
    stairs: CantorStaircase,
    temperature: float,
    point: tuple[float, float],
) -> Plate:
    """Draw the front of the sphere, every place in the mix of its classes' colours.

    Args:
        head: class triangles in three dimensions, at most six.
        stairs: gives every place its height on the Cantor line.
        temperature: T, above 0.
        point: the place whose probabilities the words tell, of length at most 1.

    Returns:
        The figure.
    """
    side = torch.linspace(-1, 1, _SIDE, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).unflatten(0, (_SIDE, _SIDE)).transpose(0, 1)
    flat = basin_probabilities(front(grid).flatten(0, 1), head, stairs, temperature)
    shares = flat.unflatten(0, (_SIDE, _SIDE)).numpy()
    winner = shares.argmax(-1)
    triangles = head.vertices().detach().numpy()
    here = torch.tensor([point], dtype=torch.float64)
    probabilities = basin_probabilities(front(here), head, stairs, temperature)[0].tolist()

    def draw(palette: Palette) -> Figure:
        figure, (panel,) = axes(palette, width=4.2, height=4.0)
        colours = palette.cycle(len(triangles))
        mixed = shares @ np.array([to_rgb(colour) for colour in colours])
        paper = np.array(to_rgb(palette.paper))
        disc = Circle((0, 0), 1, transform=panel.transData)
        extent = (-1, 1, -1, 1)
        tint = paper + _SHADE * (mixed - paper)
        image = panel.imshow(tint, extent=extent, origin="lower", interpolation="none")
        image.set_clip_path(disc)
        for label in range(len(triangles) - 1):
            borders = panel.contour(
                side, side, winner == label, [0.5], colors=palette.muted, linewidths=0.8
            )
            borders.set_clip_path(disc)
        for letter, triangle, colour in zip(LETTERS, triangles, colours, strict=False):
            outline = np.concatenate([triangle, triangle[:1]])
            panel.plot(outline[:, 0], outline[:, 1], color=colour, marker="o", markersize=4)
            centre = triangle.mean(0)
            panel.annotate(letter, centre[:2], ha="center", va="center", fontweight="bold")
        panel.plot(*point, marker="o", markersize=9, color=palette.paper, mec=palette.ink, mew=2)
        panel.set_xticks([-1, -0.5, 0, 0.5, 1])
        panel.set_yticks([-1, -0.5, 0, 0.5, 1])
        panel.set_xlabel("across")
        panel.set_ylabel("up")
        panel.grid(visible=False)
        return figure

    named = zip(LETTERS, probabilities, strict=False)
    told = ", ".join(f"{letter} {probability:.0%}" for letter, probability in named)
    return Plate(
        draw,
        f"The front of a sphere with {len(triangles)} class triangles on it, coloured by their "
        f"basins at temperature {temperature:.3g}. The point at {point[0]:.2f} across and "
        f"{point[1]:.2f} up belongs to the classes with probabilities {told}.",
    )
