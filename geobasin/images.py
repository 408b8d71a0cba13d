"""Labelled images for the ViT stage: a folder of them, or fractal images when there is none."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from geobasin.errors import GeoBasinError
from geobasin.fractals import FractalImages
from geobasin.image_folder import FolderImages, check_classes, listing_digest

SMALLEST = 16
FRACTAL_CLASSES = 10
FRACTAL_LENGTHS = {"train": 4000, "val": 1000}

# Mean and standard deviation of ImageNet's training images, of red, green and blue in [0,1]; the
# usual scale of images for networks, whatever they show.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class CachedImages(Dataset[tuple[Tensor, int]]):
    """Images kept in memory once made, as long as there is room.

    Args:
        source: the images, ``[3, S, S]`` uint8, with their labels.
        labels: ``[N]`` int64, in the order of the source.
        capacity: most bytes to keep; images past it are made again each time.

    Attributes:
        labels: ``[N]`` int64.
    """

    def __init__(
        self, source: Dataset[tuple[Tensor, int]], labels: Tensor, capacity: int = 2**30
    ) -> None:
        self.labels = labels
        self._source = source
        self._kept: dict[int, Tensor] = {}
        self._room = capacity

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Give one image.

        Args:
            index: 0 to N - 1.

        Returns:
            The image, ``[3, S, S]`` uint8, the caller's own copy, and its class.

        Raises:
            GeoBasinError: the image's file cannot be read.
        """
        label = int(self.labels[index])
        if index in self._kept:
            return self._kept[index].clone(), label
        image, _ = self._source[index]
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._kept[index] = image.clone()
        return image, label


@dataclass(frozen=True)
class ImageSets:
    """Images to train on and images to judge by.

    Attributes:
        train: images ``[3, S, S]`` uint8 with labels; ``train.labels`` holds all labels.
        val: the same for validation.
        class_names: in the order of the labels, C of them.
        source: where the images come from: ``"fractal"`` or the folder's name.
        listing_sha512: SHA-512 of the files' paths and sizes, in hexadecimal; None for images that
            are made and not read.
        class_slice: which of the folder's classes these are; None for all.
    """

    train: CachedImages
    val: CachedImages
    class_names: tuple[str, ...]
    source: str
    listing_sha512: str | None = None
    class_slice: str | None = None


def load_images(
    data_dir: Path | None, image_size: int, seed: int, classes: str | None = None
) -> ImageSets:
    """Get labelled images, from a folder or, without one, fractal images made on the fly.

    Args:
        data_dir: a folder laid out as ``train/<class>/<image>`` and ``val/<class>/<image>``; None
            for fractal images of 10 classes.
        image_size: side S in pixels, at least 16.
        seed: draws the fractal images; images from a folder do not depend on it.
        classes: which of a folder's classes, as for :func:`geobasin.image_folder.list_images`; None
            for all.

    Returns:
        The training and the validation images.

    Raises:
        GeoBasinError: an image size below 16, a negative seed, a folder without train or val, a
            class without images, fewer than two classes, other classes in val than in train, or a
            choice of classes that is no slice or has no folder to choose from.
    """
    if image_size < SMALLEST:
        raise GeoBasinError(f"image size {image_size} is below {SMALLEST} pixels; use more")
    if data_dir is None:
        if classes is not None:
            raise GeoBasinError(
                f"classes '{classes}' needs a folder to choose from; give --data_dir, or leave it "
                "out for fractal images"
            )
        fractals = {
            split: FractalImages(length, image_size, seed, split, FRACTAL_CLASSES)
            for split, length in FRACTAL_LENGTHS.items()
        }
        return ImageSets(
            train=CachedImages(fractals["train"], fractals["train"].labels),
            val=CachedImages(fractals["val"], fractals["val"].labels),
            class_names=tuple(f"fractal {label}" for label in range(FRACTAL_CLASSES)),
            source="fractal",
        )
    train = FolderImages(data_dir, "train", image_size, classes)
    val = FolderImages(data_dir, "val", image_size, classes)
    check_classes(data_dir, {"train": train.class_names, "val": val.class_names})
    return ImageSets(
        train=CachedImages(train, train.labels),
        val=CachedImages(val, val.labels),
        class_names=train.class_names,
        source=data_dir.resolve().name,
        listing_sha512=listing_digest(data_dir, [*train.paths, *val.paths]),
        class_slice=classes,
    )


def normalise(images: Tensor) -> Tensor:
    """Scale images to the mean and deviation that networks for ImageNet expect.

    Args:
        images: ``[B, 3, S, S]`` uint8, or one alone, ``[3, S, S]``.

    Returns:
        ``(images / 255 - mean) / deviation`` a channel, of that shape, float32.

    Raises:
        GeoBasinError: the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise GeoBasinError(f"images to normalise are {images.dtype}; give uint8, 0 to 255")
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1)
    return (images.to(torch.float32) / 255 - mean) / std
