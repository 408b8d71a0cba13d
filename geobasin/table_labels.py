"""Labels in a table: numbers of classes or their names, made numbers with names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geobasin.errors import GeoBasinError

Key = TypeVar("Key")


class Names:
    """Names of numbered classes, as Hugging Face's datasets leaves them in a table's schema.

    Attributes:
        known: the names in the order of the labels; None until a schema has told them.
    """

    def __init__(self) -> None:
        self.known: tuple[str, ...] | None = None

    def learn(self, schema: Any, column: str, file: Path) -> None:
        """Take the names from a schema that has them.

        Args:
            schema: of a pyarrow table.
            column: of the labels.
            file: for the message.

        Raises:
            GeoBasinError: other names than another file told.
        """
        try:
            told = json.loads((schema.metadata or {}).get(b"huggingface", b"null"))
            names = tuple(told["info"]["features"][column]["names"])
        # Anything else in the schema tells no names.
        except (ValueError, TypeError, LookupError, RecursionError):
            return
        if not all(isinstance(name, str) for name in names):
            return
        if self.known not in (None, names):
            raise GeoBasinError(f"{file} has other class names than the files before it")
        self.known = names


def numbered(
    labels: Mapping[Key, NDArray[Any]], known: tuple[str, ...] | None, where: str
) -> tuple[dict[Key, Tensor], tuple[str, ...] | None]:
    """Make labels numbers.

    Args:
        labels: [n] by split: integers, or words that name the classes.
        known: names of numbered classes, where the source has them.
        where: the column, for messages.

    Returns:
        Labels [n] int64 by split, and the names in their order: the words, sorted, or ``known``.

    Raises:
        GeoBasinError: neither integers nor words, or a mixture.
    """
    whole = all(part.dtype.kind in "iu" for part in labels.values())
    if whole:
        # A number beyond int64 wraps below zero, which no label may be.
        return {key: torch.from_numpy(part.astype(np.int64)) for key, part in labels.items()}, known
    if not all(
        part.dtype.kind == "O" and all(isinstance(word, str) for word in part)
        for part in labels.values()
    ):
        kinds = ", ".join(sorted({str(part.dtype) for part in labels.values()}))
        raise GeoBasinError(f"{where} holds {kinds}; give class numbers from 0 or class names")
    names, numbers = np.unique(np.concatenate(list(labels.values())), return_inverse=True)
    ends = np.cumsum([len(part) for part in labels.values()])[:-1]
    parts = np.split(numbers.astype(np.int64), ends)
    found = {key: torch.from_numpy(part) for key, part in zip(labels, parts, strict=True)}
    return found, tuple(str(name) for name in names)
