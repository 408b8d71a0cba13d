"""Features in the columns of a table: Parquet or Arrow files, and what datasets saves to disk."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.feature_set import SPLITS, FeatureSet, Split, check_labels, checked
from geobasin.table_files import SUFFIXES, float_rows, list_tables, read_columns
from geobasin.table_labels import Names, numbered

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
# A tenth of the rows is enough to choose by, and as many to report on.
_SHARE = 0.1
_SEED = 0


@dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what.

    Attributes:
        features: a column of lists of floats, all equally long.
        labels: a column of class numbers from 0, or of class names.
        split: a column that says train, val (or validation, valid, dev) or test; None where the
            names of files and folders say it, or nothing does.
    """

    features: str
    labels: str
    split: str | None = None

    @classmethod
    def from_record(cls, features: Mapping[str, Any]) -> "Columns | None":
        """The columns that a run read, from the ``features`` entry of its configuration.

        Args:
            features: what :meth:`geobasin.feature_set.FeatureSet.describe` gave.

        Returns:
            The columns; None where the source was no table.

        Raises:
            GeoBasinError: the entry is not what was written.
        """
        if "columns" not in features:
            return None
        try:
            return cls(**features["columns"])
        except TypeError as error:
            raise GeoBasinError(f"the run's columns are no record of a table: {error}") from error

    def chosen(self) -> list[str]:
        """The columns to be read."""
        return [self.features, self.labels, *([] if self.split is None else [self.split])]


@dataclass
class _Rows:
    """Rows of one split, batch after batch."""

    features: list[Tensor] = field(default_factory=list)
    labels: list[NDArray[Any]] = field(default_factory=list)


def is_table(path: Path) -> bool:
    """Whether a path leads to tables: a file by its ending, a folder by what it holds.

    Args:
        path: a file or folder.

    Returns:
        True for Parquet and Arrow files, and for folders with such files and no safetensors.
    """
    if not path.is_dir():
        return path.suffix in SUFFIXES
    return not any(path.glob("*.safetensors")) and bool(list_tables(path))


def open_table(path: Path, columns: Columns | None) -> FeatureSet:
    """Read a table, or a folder of them, into memory.

    Splits are told apart by the column named for it; or else by the words train, val (validation,
    valid, dev) and test in the names of files and folders below ``path``; or else every row is
    drawn, with a fixed seed: a tenth each to val and test, the rest to train. Where there is a
    train split and no val, val is a tenth drawn from train. ``origin`` says what was done.

    Args:
        path: a Parquet file, an Arrow file (stream or file format), a folder of either, or a
            folder that ``save_to_disk`` of Hugging Face's datasets wrote.
        columns: which columns hold what.

    Returns:
        The set. Class names are those of the labels, where they are words or where datasets left
        their names in the file.

    Raises:
        GeoBasinError: pyarrow is missing, no such column, a file that cannot be read, nulls,
            lists of unequal length, splits that cannot be told apart, or rows that cannot be
            trained on.
    """
    if columns is None:
        raise GeoBasinError(
            f"{path} is a table; name its columns with --feature-column and --label-column"
        )
    files = list_tables(path) if path.is_dir() else [path]
    if not files:
        raise GeoBasinError(f"{path} holds no .parquet or .arrow files; name another source")
    piles: dict[str | None, _Rows] = {}
    names = Names()
    for file in files:
        # One file is all there is: its name says nothing about a split.
        told = None if len(files) == 1 or columns.split else split_of(file.relative_to(path))
        try:
            for batch in read_columns(file, columns.chosen()):
                # Pyarrow trusts an Arrow file's lengths until it is asked not to.
                batch.validate(full=True)
                names.learn(batch.schema, columns.labels, file)
                _sort(piles, batch, columns, told, file)
        except GeoBasinError:
            raise
        # Damaged files make pyarrow's readers raise nearly anything.
        except Exception as error:
            raise GeoBasinError(
                f"cannot read {file}: {error}; check the file, or write it again"
            ) from error
    if None in piles and len(piles) > 1:
        raise GeoBasinError(
            f"only some files of {path} say train, val or test in their names; "
            "rename the others or name a column with --split-column"
        )
    name = path.name if path.is_dir() else path.stem
    rows = {split: _joined(pile, f"{path}: {columns.features}") for split, pile in piles.items()}
    numbers, class_names = numbered(
        {split: labels for split, (_, labels) in rows.items()},
        names.known,
        f"{path}: {columns.labels}",
    )
    piled = {split: Split(features, numbers[split]) for split, (features, _) in rows.items()}
    for split, part in piled.items():
        check_labels(part.labels, f"{path}: {columns.labels} ({split or 'all rows'})")
    splits, told_how = _split(piled, path)
    class_names = class_names or tuple(
        f"class {index}" for index in range(int(splits["train"].labels.max()) + 1)
    )
    origin = {"columns": asdict(columns), "splits": told_how}
    return checked(
        FeatureSet(name, splits["train"], splits["val"], splits.get("test"), class_names, origin)
    )


def split_of(path: Path) -> str | None:
    """The split that a file's name and folders tell.

    Args:
        path: below the source.

    Returns:
        train, val or test; None where no word says it.

    Raises:
        GeoBasinError: the words name two splits.
    """
    words = re.findall(r"[a-z]+", path.with_suffix("").as_posix().lower())
    found = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    if len(found) > 1:
        raise GeoBasinError(
            f"{path} names two splits, {' and '.join(sorted(found))}; rename it or give "
            "--split-column"
        )
    return found.pop() if found else None


def _sort(
    piles: dict[str | None, _Rows], batch: Any, columns: Columns, told: str | None, file: Path
) -> None:
    """Put a batch's rows on the piles of their splits."""
    if batch.num_rows == 0:
        return
    features = float_rows(batch.column(columns.features), f"{file}: column {columns.features}")
    column = batch.column(columns.labels)
    if column.null_count:
        raise GeoBasinError(f"{file}: column {columns.labels} has empty cells; drop such rows")
    labels = np.asarray(column.to_numpy(zero_copy_only=False))
    if columns.split is None:
        pile = piles.setdefault(told, _Rows())
        pile.features.append(features)
        pile.labels.append(labels)
        return
    words = [str(word).lower() for word in batch.column(columns.split).to_pylist()]
    for word in sorted(set(words)):
        if word not in _SPLIT_WORDS:
            raise GeoBasinError(
                f"{file}: column {columns.split} says '{word}'; give train, val or test"
            )
        chosen = np.array([other == word for other in words])
        pile = piles.setdefault(_SPLIT_WORDS[word], _Rows())
        pile.features.append(features[torch.from_numpy(chosen)])
        pile.labels.append(labels[chosen])


def _joined(pile: _Rows, where: str) -> tuple[Tensor, NDArray[Any]]:
    widths = sorted({part.shape[1] for part in pile.features})
    if len(widths) > 1:
        raise GeoBasinError(f"{where} is {widths[0]} wide in one place, {widths[-1]} in another")
    return torch.cat(pile.features), np.concatenate(pile.labels)


def _split(piled: Mapping[str | None, Split], path: Path) -> tuple[dict[str, Split], str]:
    """The splits, and in words where they come from."""
    named = {split: piled[split] for split in SPLITS if split in piled}
    if "train" not in named and None not in piled:
        raise GeoBasinError(f"{path} has no rows for train; give some")
    if "val" in named:
        return named, "named by the source"
    rest = ("val",) if "test" in named else ("val", "test")
    pile = named.pop("train") if "train" in named else piled[None]
    order = torch.randperm(len(pile), generator=torch.Generator().manual_seed(_SEED))
    count = round(_SHARE * len(pile))
    parts = order.split([len(pile) - count * len(rest), *[count] * len(rest)])
    drawn = {
        split: Split(pile.features[rows.sort().values], pile.labels[rows.sort().values])
        for split, rows in zip(("train", *rest), parts, strict=True)
    }
    told = f"{' and '.join(rest)} drawn with seed {_SEED}, {_SHARE:.0%} of the rows each"
    return {split: (drawn | named)[split] for split in SPLITS}, told
