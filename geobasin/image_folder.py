"""A folder of labelled images, ``<split>/<class>/<image>``, listed and decoded."""

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from geobasin.errors import GeoBasinError

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


class FolderImages(Dataset[tuple[Tensor, int]]):
    """The images of one split of a folder, each cut to its central square and scaled.

    Args:
        data_dir: a folder laid out as ``<split>/<class>/<image>``.
        split: ``"train"``, ``"val"`` or ``"test"``.
        image_size: side S in pixels.
        classes: which classes, as for :func:`list_images`; None for all.

    Attributes:
        class_names: in the order of the labels.
        labels: ``[N]`` int64.
        paths: the N files.

    Raises:
        GeoBasinError: no such folder, no class in it, a class without an image, or a choice of
            classes that leaves fewer than two.
    """

    def __init__(
        self, data_dir: Path, split: str, image_size: int, classes: str | None = None
    ) -> None:
        paths, self.labels, self.class_names = list_images(data_dir, split, classes)
        self.paths = paths
        self._image_size = image_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Decode one image.

        Args:
            index: 0 to N - 1.

        Returns:
            The image, ``[3, S, S]`` uint8, and its class.

        Raises:
            GeoBasinError: the file cannot be read.
        """
        pixels = central_square(read_image(self.paths[index]), self._image_size)
        return pixels, int(self.labels[index])


def central_square(image: Image.Image, image_size: int) -> Tensor:
    """Cut an image to its central square and scale that.

    Args:
        image: in RGB, of any size.
        image_size: side S in pixels.

    Returns:
        Pixels, ``[3, S, S]`` uint8.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cutting before scaling keeps a strip one pixel wide from growing to gigabytes; Pillow's
    # filters widen with the scale, so that a smaller image shows no aliases.
    cut = image.crop((left, top, left + side, top + side))
    square = cut.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def list_images(
    data_dir: Path, split: str, classes: str | None = None
) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """List the images of one split of a folder, as torchvision's ``ImageFolder`` does.

    Args:
        data_dir: a folder laid out as ``<split>/<class>/<image>``.
        split: the split's folder.
        classes: a slice of the sorted class names in Python's syntax, such as ``0::2``; None for
            all of them.

    Returns:
        The N paths, by class and name; the labels ``[N]`` int64, counted from 0 in the order of the
        names that were kept; these names.

    Raises:
        GeoBasinError: no such folder, no class in it, a class without an image, a choice that is no
            slice or leaves fewer than two classes, or torchvision is not installed.
    """
    folder = data_dir / split
    if not folder.is_dir():
        raise GeoBasinError(
            f"no folder {folder}; images belong in {data_dir.name}/{split}/<class>/<image>"
        )
    datasets = optional("torchvision.datasets")
    try:
        listing = datasets.ImageFolder(str(folder), allow_empty=True)
    except FileNotFoundError as error:
        raise GeoBasinError(f"{folder} holds no class; give every class a folder") from error
    except OSError as error:
        raise GeoBasinError(f"cannot list {folder}: {error.strerror}; check its rights") from error
    labels = torch.tensor(listing.targets, dtype=torch.int64)
    counts = torch.bincount(labels, minlength=len(listing.classes))
    for name, count in zip(listing.classes, counts.tolist(), strict=True):
        if count == 0:
            raise GeoBasinError(f"class {folder / name} holds no image; add some or remove it")
    paths, names = [Path(path) for path, _ in listing.samples], tuple(listing.classes)
    if classes is None:
        return paths, labels, names
    places = class_places(classes, len(names))
    if len(places) < 2:
        raise GeoBasinError(
            f"classes '{classes}' leaves {len(places)} of the {len(names)} in {folder}; "
            "two are the least"
        )
    numbers = torch.full((len(names),), -1)
    numbers[places] = torch.arange(len(places))
    labels = numbers[labels]
    kept = (labels >= 0).nonzero().flatten()
    return [paths[row] for row in kept.tolist()], labels[kept], tuple(names[at] for at in places)


def class_places(classes: str, count: int) -> list[int]:
    """Read a choice of classes.

    Args:
        classes: a slice in Python's syntax: ``0::2`` for every second class from the first,
            ``1::2`` for the others, ``:100`` for the first hundred.
        count: number of classes, sorted by name.

    Returns:
        Their places, from 0 and rising, whatever the sign of the step.

    Raises:
        GeoBasinError: it is no such slice.
    """
    parts = classes.split(":")
    try:
        if len(parts) not in (2, 3):
            raise ValueError("no colon, or too many")
        chosen = slice(*(int(part) if part.strip() else None for part in parts))
        return sorted(range(count)[chosen])
    except ValueError as error:
        raise GeoBasinError(
            f"classes {classes!r} is no slice; write it as Python does: 0::2, 1::2 or 0:100"
        ) from error


def listing_digest(data_dir: Path, paths: list[Path]) -> str:
    """Digest which files there are, without reading them.

    Args:
        data_dir: the folder that they lie in.
        paths: of the files, in order.

    Returns:
        SHA-512 in hexadecimal of a line for each file, its path below the folder and its size.

    Raises:
        GeoBasinError: a file is not there any more.
    """
    digest = hashlib.sha512()
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise GeoBasinError(
                f"cannot read image {path}: {error.strerror}; remove or replace it"
            ) from error
        digest.update(
            f"{path.relative_to(data_dir).as_posix()} {size}\n".encode("utf-8", "replace")
        )
    return digest.hexdigest()


def check_classes(data_dir: Path, class_names: dict[str, tuple[str, ...]]) -> None:
    """Refuse splits that do not share two classes or more.

    Args:
        data_dir: the folder, for the message.
        class_names: the names of the classes by split, train first.

    Raises:
        GeoBasinError: fewer than two classes, or a class of one split is missing in another.
    """
    train, *others = class_names
    if len(class_names[train]) < 2:
        raise GeoBasinError(
            f"{data_dir / train} holds one class, {class_names[train][0]!r}; two are the least"
        )
    for split in others:
        odd = sorted(set(class_names[train]) ^ set(class_names[split]))
        if odd:
            here, there = (train, split) if odd[0] in class_names[train] else (split, train)
            raise GeoBasinError(
                f"class {odd[0]!r} is in {data_dir / here} but not in {data_dir / there}; "
                "every split needs the same classes"
            )


def read_image(path: Path) -> Image.Image:
    """Decode an image file.

    Args:
        path: a file in any format that Pillow reads, 8 bits a channel.

    Returns:
        The whole image, in RGB.

    Raises:
        GeoBasinError: the file cannot be read, is no image, or has deeper pixels than 8 bits.
    """
    try:
        with Image.open(path) as image:
            image.load()
            mode, pixels = image.mode, image.convert("RGB")
    # Damaged bytes make Pillow's decoders raise nearly anything.
    except Exception as error:
        raise GeoBasinError(f"cannot read image {path}: {error}; remove or replace it") from error
    if mode in _DEEP_MODES:
        raise GeoBasinError(
            f"image {path} has pixels of mode {mode}; save it with 8 bits a channel"
        )
    return pixels


def optional(module: str) -> Any:
    """Import a module that only the work with images needs.

    Args:
        module: its full name.

    Returns:
        The module.

    Raises:
        GeoBasinError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise GeoBasinError(
            f"{module} cannot be imported: {error}; install it with pip install 'geobasin[images]'"
        ) from error
