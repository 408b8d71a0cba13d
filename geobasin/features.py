"""Where frozen features come from: digits, synthetic ones, and feature files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.feature_set import SPLITS, FeatureSet, Split, checked
from geobasin.tensors import read_tensors

__all__ = ["FeatureSet", "Split", "digits", "load_features", "synthetic"]


def load_features(source: str) -> FeatureSet:
    """Load features by name or from disk.

    Args:
        source: ``digits``; ``synthetic``; a feature file (safetensors with ``train.features``
            [N, D], ``train.labels`` [N], ``val.*`` and optionally ``test.*``); or a folder of
            shards of the same.

    Returns:
        The features, as float32.

    Raises:
        GeoBasinError: nothing there, another format, or rows that cannot be trained on.
    """
    if source == "digits":
        return digits()
    if source == "synthetic":
        return synthetic()
    path = Path(source)
    if path.is_dir():
        shards = sorted(path.glob("*.safetensors"))
        if not shards:
            raise GeoBasinError(f"{path} holds no .safetensors shards; name a feature file")
        return _assemble(path.name, shards)
    if not path.exists():
        raise GeoBasinError(
            f"no features at '{source}'; give 'digits', 'synthetic', a file or a folder"
        )
    return _assemble(path.stem, [path])


def digits() -> FeatureSet:
    """Scikit-learn's 1,797 handwritten digits as 64 pixels in [0, 1]; 60/20/20 %, stratified."""
    pixels, labels = load_digits(return_X_y=True)
    train, rest, train_labels, rest_labels = train_test_split(
        pixels / 16, labels, test_size=0.4, stratify=labels, random_state=0
    )
    val, test, val_labels, test_labels = train_test_split(
        rest, rest_labels, test_size=0.5, stratify=rest_labels, random_state=0
    )
    rows = ((train, train_labels), (val, val_labels), (test, test_labels))
    first, second, third = (
        Split(torch.from_numpy(x).float(), torch.from_numpy(y).long()) for x, y in rows
    )
    names = tuple(str(digit) for digit in range(10))
    return checked(FeatureSet("digits", first, second, third, names))


def synthetic(
    classes: int = 20,
    feature_dim: int = 64,
    rows_per_class: int = 60,
    noise: float = 1.0,
    seed: int = 0,
) -> FeatureSet:
    """Unit vectors around random class directions: ``f = normalise(mu_y + noise n / sqrt(D))``.

    Args:
        classes: number of classes C.
        feature_dim: width D.
        rows_per_class: rows a class has in train; val and test have a quarter of that each.
        noise: length of the noise relative to the class direction.
        seed: of the directions and the noise.

    Returns:
        The features.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(
        torch.randn(classes, feature_dim, generator=generator), dim=-1
    )

    def draw(rows: int) -> Split:
        labels = torch.arange(classes).repeat(rows)
        noise_vectors = torch.randn(len(labels), feature_dim, generator=generator)
        features = directions[labels] + noise * noise_vectors / feature_dim**0.5
        return Split(torch.nn.functional.normalize(features, dim=-1), labels)

    quarter = max(rows_per_class // 4, 1)
    names = tuple(f"class {index}" for index in range(classes))
    return checked(
        FeatureSet("synthetic", draw(rows_per_class), draw(quarter), draw(quarter), names)
    )


def _assemble(name: str, shards: list[Path]) -> FeatureSet:
    parts: dict[str, list[Tensor]] = {}
    metadata: dict[str, str] = {}
    for shard in shards:
        tensors, described = read_tensors(shard)
        metadata |= described
        for key, tensor in tensors.items():
            parts.setdefault(key, []).append(tensor)
    try:
        joined = {key: torch.cat(tensors) for key, tensors in parts.items()}
    except RuntimeError as error:
        raise GeoBasinError(f"the shards of '{name}' differ in width: {error}") from error
    splits = {split: _split(joined, split, name) for split in SPLITS}
    train, val = splits["train"], splits["val"]
    if train is None or val is None:
        missing = "train" if train is None else "val"
        raise GeoBasinError(
            f"'{name}' has no {missing}.features and {missing}.labels; add the split"
        )
    classes = int(train.labels.max()) + 1 if len(train) else 0
    names = _class_names(metadata, classes, name)
    return checked(FeatureSet(name, train, val, splits["test"], names))


def _split(tensors: Mapping[str, Tensor], split: str, name: str) -> Split | None:
    features, labels = tensors.get(f"{split}.features"), tensors.get(f"{split}.labels")
    if features is None and labels is None:
        return None
    if features is None or labels is None:
        lacking = "features" if features is None else "labels"
        raise GeoBasinError(f"'{name}' lacks {split}.{lacking}; features and labels go together")
    if not features.is_floating_point():
        raise GeoBasinError(f"'{name}': {split}.features is {features.dtype}; give floats")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise GeoBasinError(f"'{name}': {split}.labels is {labels.dtype}; give integers")
    return Split(features.float(), labels.long())


def _class_names(metadata: Mapping[str, str], classes: int, name: str) -> tuple[str, ...]:
    if "class_names" not in metadata:
        return tuple(f"class {index}" for index in range(classes))
    try:
        names = json.loads(metadata["class_names"])
    except ValueError as error:
        raise GeoBasinError(
            f"'{name}': class_names in the metadata is not JSON: {error}"
        ) from error
    if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
        raise GeoBasinError(f"'{name}': class_names in the metadata is not a list of strings")
    if len(names) < classes:
        raise GeoBasinError(f"'{name}' names {len(names)} classes, but train has {classes}")
    return tuple(names)
