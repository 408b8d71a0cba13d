"""A set of frozen features with their labels, split once and for all, and checked."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.tensors import save_tensors

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Rows of one split.

    Attributes:
        features: [N, D] float32, finite.
        labels: [N] int64 in [0, C).
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """The same rows on another device."""
        return Split(self.features.to(device), self.labels.to(device))


@dataclass(frozen=True)
class FeatureSet:
    """Frozen features, split once and for all.

    Attributes:
        name: what the features are called in run folders and tables.
        train: rows to learn from.
        val: rows to choose by.
        test: rows to report on, where the source has them.
        class_names: C names in the order of the labels.
    """

    name: str
    train: Split
    val: Split
    test: Split | None
    class_names: tuple[str, ...]

    @property
    def feature_dim(self) -> int:
        """Width D of the features."""
        return self.train.features.shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    def splits(self) -> dict[str, Split]:
        """The splits that exist, by name, train first."""
        named = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

    def digest(self) -> str:
        """SHA-512 of all features and labels, as hexadecimal: which data a run has seen."""
        digest = hashlib.sha512()
        for name, split in self.splits().items():
            for tensor in (split.features, split.labels):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def describe(self, source: str | None) -> dict[str, Any]:
        """What a run should record of its features.

        Args:
            source: how the user named them; None where they were made in memory.

        Returns:
            Source, name, rows of each split, width, classes and digest, as JSON can hold them.
        """
        return {
            "source": source,
            "name": self.name,
            "rows": {name: len(split) for name, split in self.splits().items()},
            "feature_dim": self.feature_dim,
            "classes": self.num_classes,
            "sha512": self.digest(),
        }

    def to(self, device: torch.device) -> "FeatureSet":
        """The same set with its rows on another device."""
        test = None if self.test is None else self.test.to(device)
        return FeatureSet(
            self.name, self.train.to(device), self.val.to(device), test, self.class_names
        )

    def save(self, path: Path) -> None:
        """Write the set as a feature file (safetensors), class names in its metadata.

        Args:
            path: the file, written atomically.
        """
        tensors = {
            f"{name}.{field}": getattr(split, field)
            for name, split in self.splits().items()
            for field in ("features", "labels")
        }
        metadata = {"name": self.name, "class_names": json.dumps(self.class_names)}
        save_tensors(path, tensors, metadata)


def checked(features: FeatureSet) -> FeatureSet:
    """Return the set if it can be trained on.

    Args:
        features: any set.

    Returns:
        The same set.

    Raises:
        GeoBasinError: wrong shape or width, NaN or infinity, labels out of range, an empty split,
            fewer than two classes, or classes in val or test that train lacks.
    """
    where = f"features '{features.name}'"
    for name, split in features.splits().items():
        if split.features.ndim != 2 or split.labels.shape != split.features.shape[:1]:
            raise GeoBasinError(
                f"{where}: {name}.features {list(split.features.shape)} and {name}.labels "
                f"{list(split.labels.shape)} do not fit; they must be [N, D] and [N]"
            )
        if len(split) == 0:
            raise GeoBasinError(f"{where}: {name} is empty; give it at least one row")
        if split.features.shape[1] != features.feature_dim:
            raise GeoBasinError(
                f"{where}: {name} is {split.features.shape[1]} wide, train is "
                f"{features.feature_dim}; extract both with the same encoder"
            )
        finite = torch.isfinite(split.features).all(dim=1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            raise GeoBasinError(
                f"{where}: {name}.features has NaN or infinity, first in row {row}; "
                "drop such rows or extract them again"
            )
        if int(split.labels.min()) < 0:
            raise GeoBasinError(f"{where}: {name}.labels has negative values; number from 0")
    present = torch.bincount(features.train.labels)
    if (present > 0).sum() < 2:
        raise GeoBasinError(f"{where}: train has one class only; a classifier needs two or more")
    for name, split in features.splits().items():
        if int(split.labels.max()) >= features.num_classes:
            raise GeoBasinError(
                f"{where}: {name}.labels reaches {int(split.labels.max())}, but there are "
                f"{features.num_classes} classes in train; labels run from 0 to C - 1"
            )
    return features
