"""One training run in several processes: torchrun's process group, and exact sums over it.

``torchrun --nproc-per-node 2 -m geobasin ...`` starts the processes and tells each its rank in its
environment; without torchrun the same code runs as a group of one.
"""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from geobasin.errors import GeoBasinError
from geobasin.machine import pick_device

_ENVIRONMENT = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Group:
    """The processes of one run, as one of them sees them; a single process by itself by default.

    Attributes:
        rank: this process's number, from 0.
        size: number of processes, >= 1.
        local_rank: this process's number on its machine, from 0.
        local_size: number of processes on this machine, >= 1.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def device(self, name: str | torch.device = "auto") -> torch.device:
        """Choose what this process computes on.

        Args:
            name: as for :func:`geobasin.machine.pick_device`. A group gives each process of a
                machine a CUDA device of its own.

        Returns:
            The device.

        Raises:
            GeoBasinError: there is no such device here.
        """
        device = pick_device(name)
        if self.size > 1 and device.type == "cuda":
            device = pick_device(f"cuda:{self.local_rank}")
            torch.cuda.set_device(device)
        return device

    def share(self, batch: int) -> int:
        """Give each process's share of a batch.

        Args:
            batch: rows of the joined batch.

        Returns:
            Rows for each process, the same number for all.

        Raises:
            GeoBasinError: the batch cannot be split evenly, so that a mean of the processes' means
                would not be the mean of the batch.
        """
        if batch % self.size:
            raise GeoBasinError(
                f"batch {batch} cannot be split evenly over {self.size} processes; "
                f"use a multiple of {self.size}"
            )
        return batch // self.size

    def wrap(self, model: nn.Module) -> nn.Module:
        """Let a model's gradients be the means over the group.

        Args:
            model: on this process's device.

        Returns:
            torch's ``DistributedDataParallel`` around the model, or, alone, the model itself. The
            parameters are shared with ``model``.
        """
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(
            model, device_ids=[device] if device.type == "cuda" else None
        )

    def gather(self, values: Sequence[float]) -> list[list[float]]:
        """Show every process's numbers to every process. All must call it.

        Args:
            values: as many numbers in each process; whole ones stay exact below 2^53.

        Returns:
            The numbers of each process, by rank.
        """
        if self.size == 1:
            return [[float(value) for value in values]]
        own = torch.tensor(values, dtype=torch.float64)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Add numbers up over the group. All must call it.

        Args:
            values: as many numbers in each process.

        Returns:
            The sum of each number over the processes, rounded once and the same in all of them.
        """
        return [_sum(column) for column in zip(*self.gather(values), strict=True)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave a block together: where one process fails in it, all do. All must enter it.

        Raises:
            GeoBasinError: this process's own error, or word of another's.
        """
        error: GeoBasinError | None = None
        try:
            yield
        except GeoBasinError as raised:
            error = raised
        failed = [rank for rank, (flag,) in enumerate(self.gather([error is not None])) if flag]
        if error is not None:
            raise error
        if failed:
            raise GeoBasinError(f"process {failed[0]} stopped; see what it says")


@contextmanager
def process_group() -> Iterator[Group]:
    """Join the group that torchrun started, and leave it in the end.

    Tensors on the CPU travel by gloo, those on CUDA devices by NCCL.

    Yields:
        The group; a group of one where torchrun did not start this process, or started one alone.

    Raises:
        GeoBasinError: torchrun's environment is not whole, or the processes do not find each other.
    """
    rank, size, local_rank, local_size = _ranks()
    if size == 1:
        yield Group()
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    except (RuntimeError, ValueError) as error:
        raise GeoBasinError(f"the processes do not find each other: {error}") from error
    try:
        yield Group(rank, size, local_rank, local_size)
    finally:
        dist.destroy_process_group()


def _ranks() -> tuple[int, int, int, int]:
    """Rank and size, and both on this machine, from the environment; (0, 1, 0, 1) without one."""
    if not dist.is_torchelastic_launched():
        return 0, 1, 0, 1
    try:
        rank, size, local_rank, local_size = (int(os.environ[n]) for n in _ENVIRONMENT)
    except (KeyError, ValueError) as error:
        raise GeoBasinError(
            f"torchrun's environment is not whole: {error}; start with torchrun, or without it"
        ) from error
    return rank, size, local_rank, local_size


def _sum(column: Sequence[float]) -> float:
    return math.fsum(column) if all(map(math.isfinite, column)) else sum(column)
