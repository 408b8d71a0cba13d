"""The sheet of images of chapter 8."""

import numpy as np
import torch

from geobasin.figures.pictures import picture_sheet
from geobasin.figures.style import DARK, LIGHT
from geobasin.fractals import FractalImages


def test_every_image_is_drawn_as_it_is_under_the_name_of_its_class() -> None:
    images = FractalImages(6, 16, seed=0, split="val", classes=3)
    pictures = {f"kind {label}": [images[label][0], images[label + 3][0]] for label in range(3)}
    plate = picture_sheet(pictures)
    assert all(name in plate.alt for name in pictures)
    for palette in (LIGHT, DARK):
        grid = plate.figure(palette).axes
        assert [axis.get_title() for axis in grid] == [*pictures, "", "", ""]
        drawn = [torch.from_numpy(np.asarray(axis.images[0].get_array())) for axis in grid]
        for column, expected in enumerate(pictures.values()):
            for row, image in enumerate(expected):
                assert torch.equal(drawn[3 * row + column].permute(2, 0, 1), image)
