"""The options of every command that reads features, and what it tells of them."""

import argparse
import math
import sys
from collections.abc import Iterator

from geobasin.columns import Columns
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.features import load_features
from geobasin.shards import MEMORY

_GIB = 2**30


def add_feature_options(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the options that say which features, and how they are read.

    Args:
        parser: the command's parser.
        required: whether ``--features`` must be given.
    """
    parser.add_argument(
        "--features",
        required=required,
        help="digits, synthetic, a feature file, a folder of shards, or a Parquet or Arrow table"
        + ("" if required else "; in place of those the run names"),
    )
    parser.add_argument("--feature-column", metavar="NAME", help="of a table: lists of floats")
    parser.add_argument("--label-column", metavar="NAME", help="of a table: classes")
    parser.add_argument(
        "--split-column",
        metavar="NAME",
        help="of a table: train, val or test; default: names of files and folders, or else drawn",
    )
    parser.add_argument(
        "--memory-gib",
        type=float,
        default=MEMORY / _GIB,
        metavar="GIB",
        help="feature files that take more than this as float32 are read from disk while training "
        "(default: %(default)g)",
    )


def read_features(
    options: argparse.Namespace, source: str = "", columns: Columns | None = None
) -> FeatureSet:
    """Load the features that the options name, and tell on stderr what a user should know of them.

    Args:
        options: as :func:`add_feature_options` reads them.
        source: what to load where ``--features`` was not given.
        columns: those of a table where no column was named.

    Returns:
        The features.

    Raises:
        GeoBasinError: as for :func:`geobasin.features.load_features`, or options that do not go
            together.
    """
    given = (options.feature_column, options.label_column)
    if any(given) != all(given) or (options.split_column and not all(given)):
        raise GeoBasinError("a table needs both --feature-column and --label-column")
    if all(given):
        columns = Columns(*given, options.split_column)
    if math.isnan(options.memory_gib):
        raise GeoBasinError("--memory-gib is nan; give a number")
    features = load_features(options.features or source, columns, memory=options.memory_gib * _GIB)
    for note in notes(features):
        print(f"features: {note}", file=sys.stderr)
    return features


def notes(features: FeatureSet) -> Iterator[str]:
    """What a user should know of a set before numbers are computed from it, a line each.

    Args:
        features: any set.

    Yields:
        Splits that were drawn, rows that stay on disk, and rows that val and test share with
        train.
    """
    splits = features.origin.get("splits", "")
    if "drawn" in splits:
        yield splits
    if "read_from_disk" in features.origin:
        yield "too large for memory, read from disk by blocks; --memory-gib moves the limit"
    rows = {name: len(split) for name, split in features.splits().items()}
    shared = {name: count for name, count in features.shared_rows().items() if count}
    if shared:
        told = " and ".join(f"{count} of {rows[name]} {name}" for name, count in shared.items())
        yield f"{told} rows have the features of a training row, value for value"
