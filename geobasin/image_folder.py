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

    Attributes:
        class_names: in the order of the labels.
        labels: ``[N]`` int64.
        paths: the N files.

    Raises:
        GeoBasinError: no such folder, no class in it, or a class without an image.
    """

    def __init__(self, data_dir: Path, split: str, image_size: int) -> None:
        paths, self.labels, self.class_names = list_images(data_dir, split)
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
        image = read_image(self.paths[index])
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # Cutting before scaling keeps a strip one pixel wide from growing to gigabytes; Pillow's
        # filters widen with the scale, so that a smaller image shows no aliases.
        cut = image.crop((left, top, left + side, top + side))
        square = cut.resize((self._image_size, self._image_size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()
        return pixels, int(self.labels[index])


def list_images(data_dir: Path, split: str) -> tuple[list[Path], Tensor, tuple[str, ...]]:
    """List the images of one split of a folder, as torchvision's ``ImageFolder`` does.

    Args:
        data_dir: a folder laid out as ``<split>/<class>/<image>``.
        split: the split's folder.

    Returns:
        The N paths, by class and name; the labels ``[N]`` int64; the names of the classes.

    Raises:
        GeoBasinError: no such folder, no class in it, a class without an image, or torchvision is
            not installed.
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
    return [Path(path) for path, _ in listing.samples], labels, tuple(listing.classes)


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
