"""Rows of one split, and the three ways to go through them: in order, shuffled, and as a sample."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Which rows a sample takes is no part of a run's randomness.
_SAMPLE_SEED = 0


@dataclass(frozen=True)
class Split:
    """Rows of one split, in memory.

    Attributes:
        features: [N, D] float32, finite.
        labels: [N] int64 in [0, C).
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def width(self) -> int:
        """Width D of the features."""
        return self.features.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the features as they are given out."""
        return self.features.dtype

    def to(self, device: torch.device) -> "Split":
        """The same rows on another device."""
        return Split(self.features.to(device), self.labels.to(device))

    def chunks(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the split in its own order.

        Args:
            rows: rows in a chunk, at least 1; the last chunk may have fewer.

        Yields:
            Features [n, D] and labels [n].
        """
        yield from zip(self.features.split(rows), self.labels.split(rows), strict=True)

    def batches(
        self, size: int, generator: torch.Generator, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Go through the split once, every row in one batch, in a drawn order.

        Args:
            size: rows in a batch, at least 1; the last batch may have fewer.
            generator: on the CPU, decides the order.
            start: batches to leave out at the beginning, for a run that goes on within an epoch;
                those that follow are the same as without it.

        Yields:
            Features [n, D] and labels [n].
        """
        order = torch.randperm(len(self), generator=generator)[start * size :]
        # Splitting nothing gives one empty batch.
        if len(order):
            for rows in order.to(self.labels.device).split(size):
                yield self.features[rows], self.labels[rows]

    def sample(self, most: int) -> tuple[Tensor, Tensor]:
        """Rows that stand for all, for statistics that need no more.

        Args:
            most: rows wanted, at least 1.

        Returns:
            Features [n, D] and labels [n] in the order of the split: all rows where there are no
            more than ``most``, and otherwise ``most`` of them drawn alike, always the same.
        """
        if len(self) <= most:
            return self.features, self.labels
        rows = drawn_rows(len(self), most).to(self.labels.device)
        return self.features[rows], self.labels[rows]


def drawn_rows(rows: int, most: int) -> Tensor:
    """Numbers of ``most`` rows out of ``rows``, drawn alike with a fixed seed, in order: [most]."""
    generator = torch.Generator().manual_seed(_SAMPLE_SEED)
    return torch.randperm(rows, generator=generator)[:most].sort().values
