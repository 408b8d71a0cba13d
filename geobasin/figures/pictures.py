"""Figures of chapter 8: the images that features come from."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from geobasin.figures.style import Palette, Plate, axes


def picture_sheet(pictures: Mapping[str, Sequence[Tensor]]) -> Plate:
    """Draw images in columns, a class to a column.

    Args:
        pictures: by class name, images ``[3, S, S]`` uint8, as many for every class.

    Returns:
        The figure.
    """
    columns, rows = len(pictures), len(next(iter(pictures.values())))
    width = 5.0

    def draw(palette: Palette) -> Figure:
        height = width * rows / columns + 0.3
        figure, grid = axes(palette, rows, columns, width=width, height=height)
        for column, (name, images) in enumerate(pictures.items()):
            grid[column].set_title(name)
            for row, image in enumerate(images):
                axis = grid[row * columns + column]
                # "none" keeps the pixels as they are; scaled for print they take far more room.
                axis.imshow(image.permute(1, 2, 0).numpy(), interpolation="none")
                axis.set_axis_off()
        return figure

    return Plate(
        draw,
        alt=(
            f"{rows} images of each of {columns} classes, {', '.join(pictures)}, a column to a "
            "class. Down a column one shape returns turned, shifted, scaled and bent a little, in "
            "two colours that change from image to image, dark on light or light on dark."
        ),
    )
