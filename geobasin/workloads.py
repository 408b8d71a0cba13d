"""Images by name for comparing optimisers: scikit-learn's digits, fractals, or a folder."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import Dataset, Subset

from geobasin.images import CachedImages, ImageSets, load_images

DIGITS = "digits"
FRACTAL = "fractal"
_DIGITS_BRIGHTEST = 16
_DIGITS_VAL = 360


def load_workload(name: str | Path, image_size: int) -> ImageSets:
    """Get the images that a name stands for; they do not depend on any seed.

    Args:
        name: ``digits`` (1,797 handwritten digits of 8 x 8 pixels, enlarged; 360 of them are for
            validation), ``fractal``, or a folder as :func:`geobasin.images.load_images` takes it.
        image_size: side S in pixels.

    Returns:
        The images to train on and to judge by.

    Raises:
        GeoBasinError: as for :func:`geobasin.images.load_images`.
    """
    if str(name) == DIGITS:
        return _digits(image_size)
    return load_images(None if str(name) == FRACTAL else Path(name), image_size, seed=0)


def some_of(images: CachedImages, count: int) -> Dataset[tuple[Tensor, int]]:
    """Take some images, the same ones every time.

    Args:
        images: N images.
        count: how many, at least 1; all where N is no more.

    Returns:
        ``min(count, N)`` of them, drawn without replacement.
    """
    order = np.random.default_rng(0).permutation(len(images))
    return Subset(images, sorted(order[:count].tolist()))


class _Arrays(Dataset[tuple[Tensor, int]]):
    def __init__(self, images: np.ndarray, labels: Tensor, image_size: int) -> None:
        self._images, self._labels, self._size = images, labels, image_size

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        grey = Image.fromarray(self._images[index])
        large = grey.resize((self._size, self._size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(large)).expand(3, -1, -1).contiguous()
        return pixels, int(self._labels[index])


def _digits(image_size: int) -> ImageSets:
    data = load_digits()
    pixels = (data.images * (255 / _DIGITS_BRIGHTEST)).astype(np.uint8)
    train, val = train_test_split(
        np.arange(len(pixels)), test_size=_DIGITS_VAL, stratify=data.target, random_state=0
    )
    labels = torch.from_numpy(data.target).to(torch.int64)

    def part(rows: np.ndarray) -> CachedImages:
        chosen = labels[torch.from_numpy(rows)]
        return CachedImages(_Arrays(pixels[rows], chosen, image_size), chosen)

    names = tuple(str(name) for name in data.target_names)
    return ImageSets(part(train), part(val), names, DIGITS)
