"""Feature files, one or a folder of them, opened as a set; large ones stay on disk."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.feature_set import MOST_CLASSES, SPLITS, FeatureSet, Split, check_labels, checked
from geobasin.files import read_json
from geobasin.seal import MANIFEST
from geobasin.stored import StoredSplit
from geobasin.survey import survey
from geobasin.tensors import read_tensors, save_tensors

# Features that take more than this as float32 stay on disk, unless the user says otherwise. The
# bound does not depend on the machine, because the order of the rows depends on it.
MEMORY = 2**31
EXTRACTION = "extraction.json"


@dataclass
class _Parts:
    """Rows of one split as they lie in the shards."""

    features: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(labels) for labels in self.labels)


def open_shards(path: Path, memory: int = MEMORY) -> FeatureSet:
    """Open a feature file or a folder of shards.

    Shards are memory-mapped. A set that takes no more than ``memory`` is copied into memory as
    float32; a larger one stays on disk as :class:`geobasin.stored.StoredSplit`, and one pass over
    it finds its digest, its unusable rows and the rows that its splits share.

    Args:
        path: a safetensors file with ``train.features`` [N, D], ``train.labels`` [N], ``val.*``
            and optionally ``test.*``, or a folder of such files, whose rows are joined in the
            order of the files' names. The metadata may hold ``class_names``, a JSON list.
        memory: bytes that all features may take in memory as float32.

    Returns:
        The set.

    Raises:
        GeoBasinError: no shard, an unfinished extraction, shards that do not fit together, or
            rows that cannot be trained on.
    """
    name = path.name if path.is_dir() else path.stem
    files = _shards(path) if path.is_dir() else [path]
    parts: dict[str, _Parts] = {}
    named: str | None = None
    for file in files:
        tensors, metadata = read_tensors(file)
        said = metadata.get("class_names", named)
        if named is not None and said != named:
            raise GeoBasinError(f"{file} has other class_names than the shards before it")
        named = said
        for split in SPLITS:
            _add(parts, split, tensors, file)
    for split in ("train", "val"):
        if split not in parts:
            raise GeoBasinError(
                f"'{name}' has no {split}.features and {split}.labels; add the split"
            )
    labels = {split: torch.cat(part.labels).long() for split, part in parts.items()}
    for split, numbers in labels.items():
        check_labels(numbers, f"'{name}': {split}.labels")
    classes = class_names(named, int(labels["train"].max()) + 1, name)
    size = 4 * sum(part.numel() for rows in parts.values() for part in rows.features)
    if size <= memory:
        splits = {
            split: Split(torch.cat([part.float() for part in rows.features]), labels[split])
            for split, rows in parts.items()
        }
        return checked(
            FeatureSet(name, splits["train"], splits["val"], splits.get("test"), classes)
        )
    stored = {split: StoredSplit(rows.features, labels[split]) for split, rows in parts.items()}
    train = stored["train"]
    order = {"block_rows": train.block_rows, "window_rows": train.window_rows}
    opened = FeatureSet(
        name, train, stored["val"], stored.get("test"), classes, {"read_from_disk": order}
    )
    return checked(replace(opened, surveyed=survey(opened.splits())))


def write_shards(
    features: FeatureSet, folder: Path, rows: int, dtype: torch.dtype = torch.float32
) -> list[Path]:
    """Write a set as a folder of shards, ``<split>-<number>.safetensors``.

    Rows keep their order. A set that is to be read by blocks should not be sorted by class.

    Args:
        features: the set.
        folder: new or empty.
        rows: in a shard, at least 1; the last of a split may have fewer.
        dtype: of the features on disk.

    Returns:
        The files, each written atomically.

    Raises:
        GeoBasinError: the folder holds other files, no rows to a shard, or the write is refused.
    """
    if rows < 1:
        raise GeoBasinError(f"a shard of {rows} rows holds nothing; give at least 1")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise GeoBasinError(f"{folder} holds other files; name a new folder")
    metadata = {"name": features.name, "class_names": json.dumps(features.class_names)}
    written = []
    for split, part in features.splits().items():
        for number, (values, labels) in enumerate(part.chunks(rows)):
            path = folder / shard_name(split, number)
            tensors = {f"{split}.features": values.to(dtype), f"{split}.labels": labels}
            # A slice of a larger tensor would carry all of it along.
            copies = {key: tensor.clone() for key, tensor in tensors.items()}
            save_tensors(path, copies, metadata)
            written.append(path)
    return written


def shard_name(split: str, number: int) -> str:
    """File name of a split's shard, such that names sort as numbers do.

    Args:
        split: train, val or test.
        number: counted from 0, below a million.

    Returns:
        The name.
    """
    return f"{split}-{number:06}.safetensors"


def class_names(text: str | None, classes: int, name: str) -> tuple[str, ...]:
    """Names of the classes, from a feature file's metadata.

    Args:
        text: a JSON list of strings; None where there is none.
        classes: how many train has at least.
        name: of the set, for messages.

    Returns:
        The names; ``class 0`` and so on where there are none.

    Raises:
        GeoBasinError: not a JSON list of strings, or too few or far too many of them.
    """
    if text is None:
        return tuple(f"class {index}" for index in range(classes))
    try:
        names: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GeoBasinError(
            f"'{name}': class_names in the metadata is not JSON: {error}"
        ) from error
    if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
        raise GeoBasinError(f"'{name}': class_names in the metadata is not a list of strings")
    if not classes <= len(names) <= MOST_CLASSES:
        raise GeoBasinError(f"'{name}' names {len(names)} classes, but train has {classes}")
    return tuple(names)


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.safetensors"))
    if (folder / EXTRACTION).exists():
        missing = sorted(set(_promised(folder)) - {path.name for path in shards})
        if missing or not (folder / MANIFEST).exists():
            raise GeoBasinError(
                f"the extraction into {folder} is not finished; the same extract command goes on"
            )
    if not shards:
        raise GeoBasinError(f"{folder} holds no .safetensors shards; name a feature file")
    return shards


def _promised(folder: Path) -> Iterator[str]:
    plan = read_json(folder / EXTRACTION)
    shards = plan.get("shards") if isinstance(plan, dict) else None
    if not isinstance(shards, dict):
        raise GeoBasinError(f"{folder / EXTRACTION} lists no shards; extract into a new folder")
    yield from shards


def _add(parts: dict[str, _Parts], split: str, tensors: Mapping[str, Tensor], file: Path) -> None:
    features, labels = tensors.get(f"{split}.features"), tensors.get(f"{split}.labels")
    if features is None and labels is None:
        return
    where = f"{file}: {split}"
    if features is None or labels is None:
        lacking = "features" if features is None else "labels"
        raise GeoBasinError(f"{file} lacks {split}.{lacking}; features and labels go together")
    if not features.is_floating_point():
        raise GeoBasinError(f"{where}.features is {features.dtype}; give floats")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise GeoBasinError(f"{where}.labels is {labels.dtype}; give integers")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise GeoBasinError(
            f"{where}.features {list(features.shape)} and {split}.labels {list(labels.shape)} "
            "do not fit; they must be [N, D] and [N]"
        )
    known = parts.setdefault(split, _Parts())
    width = next(iter(parts.values())).features
    if width and width[0].shape[1] != features.shape[1]:
        raise GeoBasinError(
            f"{where}.features is {features.shape[1]} wide, the rows before it are "
            f"{width[0].shape[1]}; extract all with the same encoder"
        )
    if features.shape[1] == 0:
        raise GeoBasinError(f"{where}.features is 0 wide; give it at least one column")
    known.features.append(features)
    # Labels are small and wanted often; a copy of them outlives the file.
    known.labels.append(labels.long().clone())
