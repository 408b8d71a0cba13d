"""What one pass over a feature set finds: its digest, rows it cannot use, rows in two splits."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobasin.split import Split

# 8 MiB of features 512 wide: little memory, and long enough for the hashes to run at full speed.
_ROWS = 4096


@dataclass(frozen=True)
class Survey:
    """Findings of one pass over all rows.

    Attributes:
        sha512: of all features and labels, as hexadecimal.
        shared_rows: for every split but train, how many of its rows have features that train has
            too, value for value.
        unusable: for splits with NaN or infinity, the first such row, counted from 0.
    """

    sha512: str
    shared_rows: dict[str, int]
    unusable: dict[str, int]


def survey(splits: Mapping[str, Split]) -> Survey:
    """Go through all rows once; memory is a few chunks of rows and 8 bytes a row.

    Args:
        splits: by name, train first.

    Returns:
        What was found.
    """
    digest = hashlib.sha512()
    keys: dict[str, NDArray[np.uint64]] = {}
    unusable: dict[str, int] = {}
    for name, split in splits.items():
        digest.update(f"{name} {split.dtype} {(len(split), split.width)}\n".encode())
        parts = []
        row = 0
        for features, _ in split.chunks(_ROWS):
            rows = features.cpu().contiguous()
            digest.update(rows.numpy().data)
            bad = first_unusable(rows)
            if bad is not None:
                unusable.setdefault(name, row + bad)
            parts.append(row_keys(rows))
            row += len(rows)
        labels = split.labels.cpu().contiguous()
        digest.update(f"{name} {labels.dtype} {tuple(labels.shape)}\n".encode())
        digest.update(labels.numpy().data)
        keys[name] = np.concatenate(parts)
    return Survey(digest.hexdigest(), _shared(keys), unusable)


def shared_rows(splits: Mapping[str, Split]) -> dict[str, int]:
    """Count the rows of the other splits whose features train has too.

    Args:
        splits: by name, train first.

    Returns:
        A number for every split but train.
    """
    keys = {
        name: np.concatenate([row_keys(rows.cpu()) for rows, _ in split.chunks(_ROWS)])
        for name, split in splits.items()
    }
    return _shared(keys)


def row_keys(rows: Tensor) -> NDArray[np.uint64]:
    """Hash every row by the values in it.

    Args:
        rows: [N, D] on the CPU.

    Returns:
        The first 64 bits of each row's BLAKE2b, [N]. Two rows that differ share them once in
        ``2^64`` pairs: among a million training rows and fifty thousand others that is a chance
        of less than one in a hundred million for a single row counted too many.
    """
    # Zero and minus zero are one value.
    values = (rows + 0.0).contiguous().numpy()
    digests = (hashlib.blake2b(row, digest_size=8).digest() for row in values)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def first_unusable(rows: Tensor) -> int | None:
    """Number of the first row with NaN or infinity; None where there is none.

    Args:
        rows: [N, D].

    Returns:
        The row, counted from 0.
    """
    finite = torch.isfinite(rows)
    if finite.all():
        return None
    return int((~finite.all(dim=1)).nonzero()[0])


def _shared(keys: Mapping[str, NDArray[np.uint64]]) -> dict[str, int]:
    train, *others = keys
    known = np.unique(keys[train])
    return {name: int(np.isin(keys[name], known).sum()) for name in others}
