"""Where frozen features come from: digits, synthetic ones, feature files and tables."""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from geobasin.columns import Columns, is_table, open_table
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet, Split, checked
from geobasin.shards import MEMORY, open_shards

__all__ = ["Columns", "FeatureSet", "Split", "digits", "load_features", "synthetic"]


def load_features(
    source: str, columns: Columns | None = None, *, memory: int = MEMORY
) -> FeatureSet:
    """Load features by name or from disk.

    Args:
        source: ``digits``; ``synthetic``; a feature file (safetensors with ``train.features``
            [N, D], ``train.labels`` [N], ``val.*`` and optionally ``test.*``); a folder of shards
            of the same; or a table: a Parquet or Arrow file, a folder of them, or what
            ``save_to_disk`` of Hugging Face's datasets wrote.
        columns: which columns of a table hold what; None for feature files.
        memory: bytes; feature files that take more than this as float32 stay on disk.

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
    try:
        if not path.exists():
            raise GeoBasinError(
                f"no features at '{source}'; give 'digits', 'synthetic', a file or a folder"
            )
        if columns is not None or is_table(path):
            return open_table(path, columns)
        return open_shards(path, memory)
    # A path with a null character, or one too long or closed to the user.
    except OSError as error:
        raise GeoBasinError(f"cannot read '{source}': {error.strerror}; check the path") from error
    except ValueError as error:
        if isinstance(error, GeoBasinError):
            raise
        raise GeoBasinError(f"'{source!r}' is no path: {error}; name a file or folder") from error


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
