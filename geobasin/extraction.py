"""An extraction into shards, which goes on where it was killed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from geobasin.encoder import Encoder, encode
from geobasin.errors import GeoBasinError
from geobasin.files import canonical_json, clear_partial, read_json, write_json
from geobasin.machine import versions
from geobasin.seal import MANIFEST, require_verified, seal
from geobasin.shards import EXTRACTION, shard_name
from geobasin.tensors import read_tensors, save_tensors

# Listings are sorted by class, and whoever reads shards by blocks needs the classes mixed.
_ORDER_SEED = 0

Listed = dict[str, tuple[list[Path], Tensor]]


@dataclass(frozen=True)
class _Shard:
    """Images of one shard."""

    name: str
    split: str
    paths: list[Path]
    labels: Tensor


@dataclass(frozen=True)
class Extraction:
    """Features of listed images, on their way into a folder of shards.

    Batches never reach from one shard into the next, so that a shard's bytes do not depend on
    which shards were there before.

    Attributes:
        listed: paths and labels [N] int64 by split.
        encoder: its network on the device.
        out: the folder.
        shard_rows: rows in a shard, at least 1.
        batch: images encoded at once.
        dtype: of the features on disk.
        device: where the encoder runs.
        metadata: of every shard.
    """

    listed: Listed
    encoder: Encoder
    out: Path
    shard_rows: int
    batch: int
    dtype: torch.dtype
    device: torch.device
    metadata: Mapping[str, str]

    def run(self, progress: bool = False) -> None:
        """Write the shards that are missing, then seal the folder.

        Args:
            progress: show a bar for each split on stderr.

        Raises:
            GeoBasinError: the folder belongs to something else or was altered after its seal, an
                image cannot be read, a feature is NaN or infinite, or a write is refused.
        """
        shards = [shard for split in self.listed for shard in self._shards(split)]
        plan = self._plan(shards)
        self._claim(plan)
        if (self.out / MANIFEST).exists():
            require_verified(self.out)
            return
        clear_partial(self.out)
        # What the plan holds, in every shard: a shard of another plan is not taken for ours.
        mark = hashlib.sha512(canonical_json(_lasting(plan)).encode()).hexdigest()
        metadata = {**self.metadata, "extraction": mark}
        for split, (paths, _) in self.listed.items():
            there = {shard.name: shard for shard in shards if shard.split == split}
            missing = [shard for shard in there.values() if not self._is_whole(shard, metadata)]
            kept = len(paths) - sum(len(shard.paths) for shard in missing)
            with tqdm(
                total=len(paths), initial=kept, desc=split, unit="image", disable=not progress
            ) as bar:
                self._write(missing, metadata, bar)
        seal(self.out)

    def _shards(self, split: str) -> list[_Shard]:
        paths, labels = self.listed[split]
        order = torch.arange(len(paths))
        if split == "train":
            order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(_ORDER_SEED))
        return [
            _Shard(
                shard_name(split, number),
                split,
                [paths[row] for row in rows.tolist()],
                labels[rows],
            )
            for number, rows in enumerate(order.split(self.shard_rows))
        ]

    def _plan(self, shards: list[_Shard]) -> dict[str, Any]:
        listing = hashlib.sha512()
        for shard in shards:
            for path in shard.paths:
                place = "/".join(path.parts[-3:])
                listing.update(f"{place}\t{_size(path)}\n".encode(errors="surrogateescape"))
        return {
            **self.metadata,
            "listing": listing.hexdigest(),
            "train_order": f"drawn with seed {_ORDER_SEED}",
            "batch": self.batch,
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device.type,
            "versions": versions(),
            "shards": {shard.name: len(shard.paths) for shard in shards},
        }

    def _claim(self, plan: dict[str, Any]) -> None:
        """Make the folder this extraction's, or refuse it where it is another's."""
        path = self.out / EXTRACTION
        if path.exists():
            stored = read_json(path)
            if not isinstance(stored, dict) or _lasting(stored) != _lasting(plan):
                raise GeoBasinError(
                    f"{self.out} holds an extraction of other images or settings; name a new folder"
                )
            return
        # A call that was killed while it wrote its plan leaves a hidden file at most.
        if self.out.exists() and any(not file.name.startswith(".") for file in self.out.iterdir()):
            raise GeoBasinError(f"{self.out} holds other files; name a new folder")
        write_json(path, plan)

    def _is_whole(self, shard: _Shard, metadata: Mapping[str, str]) -> bool:
        path = self.out / shard.name
        if not path.exists():
            return False
        try:
            tensors, stored = read_tensors(path)
        except GeoBasinError:
            return False
        labels = tensors.get(f"{shard.split}.labels")
        return stored == metadata and labels is not None and torch.equal(labels, shard.labels)

    def _write(self, missing: list[_Shard], metadata: Mapping[str, str], bar: Any) -> None:
        batches = [
            (shard, shard.paths[start : start + self.batch])
            for shard in missing
            for start in range(0, len(shard.paths), self.batch)
        ]
        rows: list[Tensor] = []
        images = [paths for _, paths in batches]
        stream = encode(self.encoder, images, self.device, self.dtype)
        for (shard, paths), features in zip(batches, stream, strict=True):
            rows.append(features)
            bar.update(len(paths))
            if paths[-1] is shard.paths[-1]:
                tensors = {
                    f"{shard.split}.features": torch.cat(rows),
                    f"{shard.split}.labels": shard.labels,
                }
                save_tensors(self.out / shard.name, tensors, metadata)
                rows = []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise GeoBasinError(f"cannot read image {path}: {error.strerror}; remove it") from error


def _lasting(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a call to go on; versions are for the record."""
    return {part: value for part, value in plan.items() if part != "versions"}
