"""Figures of chapter 8: the images that features come from."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from geobasin.figures.style import Palette, Plate, axes


def picture_sheet(pictures: Mapping[str, Sequence[Tensor]]) -> Plate:
    """Draw images in rows, a class to a row.

    Args:
        pictures: by class name, images ``[3, S, S]`` uint8, as many for every class.

    Returns:
        The figure.
    """
    rows, columns = len(pictures), len(next(iter(pictures.values())))
    width = 5.0

    def draw(palette: Palette) -> Figure:
        figure, grid = axes(palette, rows, columns, width=width, height=width * rows / columns)
        for row, (name, images) in enumerate(pictures.items()):
            for column, image in enumerate(images):
                axis = grid[row * columns + column]
                axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
                axis.set(xticks=[], yticks=[])
                axis.grid(visible=False)
                for edge in axis.spines.values():
                    edge.set_visible(False)
                if column == 0:
                    axis.set_ylabel(name, rotation="horizontal", ha="right", va="center")
        return figure

    return Plate(
        draw,
        alt=(
            f"{columns} images of each of {rows} classes, {', '.join(pictures)}, a row to a class. "
            "Along a row one shape returns turned, shifted, scaled and bent a little, in two "
            "colours that change from image to image, dark on light or light on dark."
        ),
    )
