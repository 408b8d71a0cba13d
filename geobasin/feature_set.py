"""A set of frozen features with their labels, split once and for all, and checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.split import Split
from geobasin.survey import Survey, first_unusable, shared_rows, survey
from geobasin.tensors import save_tensors

__all__ = ["SPLITS", "FeatureSet", "Split", "check_labels", "checked"]

SPLITS = ("train", "val", "test")
# A label above this is somebody's identifier and no count of classes that a model could hold.
MOST_CLASSES = 2**20


@dataclass(frozen=True)
class FeatureSet:
    """Frozen features, split once and for all.

    Attributes:
        name: what the features are called in run folders and tables.
        train: rows to learn from.
        val: rows to choose by.
        test: rows to report on, where the source has them.
        class_names: C names in the order of the labels.
        origin: how the rows were read, for the record, as JSON can hold it; empty where the
            source says it all.
        surveyed: what was found in rows that stay on disk; None for rows in memory, which may
            have changed since they were read.
    """

    name: str
    train: Split
    val: Split
    test: Split | None
    class_names: tuple[str, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    surveyed: Survey | None = None

    @property
    def feature_dim(self) -> int:
        """Width D of the features."""
        return self.train.width

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
        return self._survey().sha512

    def shared_rows(self) -> dict[str, int]:
        """Rows of val and test whose features train has too, value for value, by split."""
        return self.surveyed.shared_rows if self.surveyed else shared_rows(self.splits())

    def _survey(self) -> Survey:
        return self.surveyed or survey(self.splits())

    def describe(self, source: str | None) -> dict[str, Any]:
        """What a run should record of its features.

        Args:
            source: how the user named them; None where they were made in memory.

        Returns:
            Source, name, rows of each split, width, classes, digest, rows that val and test share
            with train, and the origin's entries where it has any, as JSON can hold them.
        """
        found = self._survey()
        return {
            "source": source,
            "name": self.name,
            "rows": {name: len(split) for name, split in self.splits().items()},
            "feature_dim": self.feature_dim,
            "classes": self.num_classes,
            "sha512": found.sha512,
            "shared_rows": found.shared_rows,
            **self.origin,
        }

    def to(self, device: torch.device) -> "FeatureSet":
        """The same set with its rows on another device."""
        test = None if self.test is None else self.test.to(device)
        return replace(self, train=self.train.to(device), val=self.val.to(device), test=test)

    def save(self, path: Path) -> None:
        """Write the set as a feature file (safetensors), class names in its metadata.

        Args:
            path: the file, written atomically.
        """
        tensors = {
            f"{name}.{kind}": getattr(split, kind)
            for name, split in self.splits().items()
            for kind in ("features", "labels")
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
        _check_shape(features, name, split)
        if features.surveyed is None:
            row = first_unusable(split.features)
        else:
            row = features.surveyed.unusable.get(name)
        if row is not None:
            raise GeoBasinError(
                f"{where}: {name}.features has NaN or infinity, first in row {row}; "
                "drop such rows or extract them again"
            )
        check_labels(split.labels, f"{where}: {name}.labels")
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


def check_labels(labels: Tensor, where: str) -> None:
    """Refuse labels that cannot be numbers of classes.

    Args:
        labels: [N] int64.
        where: whose labels they are, for the message.

    Raises:
        GeoBasinError: none, or one below 0 or far above the classes that any model has.
    """
    if len(labels) == 0:
        raise GeoBasinError(f"{where} is empty; give the split at least one row")
    if int(labels.min()) < 0:
        raise GeoBasinError(f"{where} has negative values; number from 0")
    if int(labels.max()) >= MOST_CLASSES:
        raise GeoBasinError(
            f"{where} reaches {int(labels.max())}; number the classes from 0 without gaps"
        )


def _check_shape(features: FeatureSet, name: str, split: Split) -> None:
    where = f"features '{features.name}'"
    # Rows on disk were found to fit when their shards were joined.
    if features.surveyed is None and (
        split.features.ndim != 2 or split.labels.shape != split.features.shape[:1]
    ):
        raise GeoBasinError(
            f"{where}: {name}.features {list(split.features.shape)} and {name}.labels "
            f"{list(split.labels.shape)} do not fit; they must be [N, D] and [N]"
        )
    if len(split) == 0:
        raise GeoBasinError(f"{where}: {name} is empty; give it at least one row")
    if split.width == 0:
        raise GeoBasinError(f"{where}: {name}.features is 0 wide; give it at least one column")
    if split.width != features.feature_dim:
        raise GeoBasinError(
            f"{where}: {name} is {split.width} wide, train is {features.feature_dim}; "
            "extract both with the same encoder"
        )
