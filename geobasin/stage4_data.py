"""Batches of the ViT stage: the images of step t follow from the seed and t alone."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from geobasin.distributed import Group


class StepBatches(Sampler[list[int]]):
    """Indices of every step's images.

    The images come in one endless row of permutations, each from its own seed, and step t takes the
    t-th stretch of it. A batch may span two permutations, and be larger than the set.

    Args:
        size: number of images, >= 1.
        batch: images in a step, >= 1.
        seed: of the permutations, in [0, 2^32).
        first: the first step, from 1.
        last: the last step.
        group: processes that share every batch evenly; None for this one alone.

    Raises:
        GeoBasinError: the batch cannot be split evenly.
    """

    def __init__(
        self,
        size: int,
        batch: int,
        seed: int,
        first: int,
        last: int,
        group: Group | None = None,
    ) -> None:
        self._size, self._batch, self._seed = size, batch, seed
        self._steps = range(first, last + 1)
        group = group or Group()
        share = group.share(batch)
        self._own = slice(group.rank * share, (group.rank + 1) * share)

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield this process's indices of one step after the other."""
        rounds: dict[int, list[int]] = {}
        for step in self._steps:
            places = range((step - 1) * self._batch, step * self._batch)[self._own]
            needed = {place // self._size for place in places}
            rounds = {n: rounds.get(n) or self._permutation(n) for n in sorted(needed)}
            yield [rounds[place // self._size][place % self._size] for place in places]

    def _permutation(self, number: int) -> list[int]:
        # torch's CPU generator keeps 32 bits of a seed; numpy's takes both numbers whole.
        generator = np.random.default_rng([self._seed, number])
        order: list[int] = generator.permutation(self._size).tolist()
        return order


def step_loader(
    images: Dataset[tuple[Tensor, int]],
    size: int,
    batch: int,
    seed: int,
    first: int,
    last: int,
    workers: int = 0,
    group: Group | None = None,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Load the batches of steps ``first`` to ``last``.

    Args:
        images: items ``([3, S, S] uint8, label)``.
        size: number of images.
        batch: images in a step, over the whole group.
        seed: decides the order, in [0, 2^32).
        first: the first step, from 1.
        last: the last step.
        workers: processes that decode; 0 decodes in this one.
        group: processes that share every batch evenly; None for this one alone.

    Returns:
        A loader of ``(images [B, 3, S, S] uint8, labels [B] int64)``, one a step, B being this
        process's share of the batch.

    Raises:
        GeoBasinError: the batch cannot be split evenly.
    """
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_sampler=StepBatches(size, batch, seed, first, last, group),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )


def val_loader(
    images: Dataset[tuple[Tensor, int]],
    batch: int,
    workers: int = 0,
    group: Group | None = None,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Load every image once, in order; in a group each process loads some and none loads two.

    Args:
        images: items ``([3, S, S] uint8, label)``.
        batch: B, images at a time.
        workers: processes that decode; 0 decodes in this one.
        group: processes that share the images; None for this one alone.

    Returns:
        A loader of ``(images [B, 3, S, S] uint8, labels [B] int64)``; the last batch may be
        smaller, and with fewer images than processes there may be none.
    """
    if group is not None and group.size > 1:
        # torch's DistributedSampler would repeat images to give all processes as many.
        images = Subset(images, range(group.rank, len(images), group.size))  # type: ignore[arg-type]
    return DataLoader(images, batch_size=batch, num_workers=workers)  # type: ignore[arg-type]
