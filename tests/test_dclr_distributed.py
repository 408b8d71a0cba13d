"""DCLR under DistributedDataParallel: two processes take the steps of one with both batches."""

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

from geobasin.dclr import DCLR
from geobasin.dclr_trace import record_gains

STEPS, ROWS = 12, 8


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(2 * ROWS, 4, generator=generator)
    return x, x.prod(dim=1, keepdim=True)


def train(model: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Weights and log gains after some steps on these rows of every batch."""
    optimizer = DCLR(model.parameters(), lr=1e-2, refresh=2)
    recorder = record_gains(optimizer)
    for step in range(STEPS):
        x, y = batch(step)
        optimizer.zero_grad()
        mse_loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
    weights = {str(i): p.detach().clone() for i, p in enumerate(model.parameters())}
    return {**weights, "log_gains": recorder.trace().log_gains}


def train_one_of_two(folder: str, rank: int) -> dict[str, Tensor]:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=60),
    )
    try:
        model = DistributedDataParallel(net(), gradient_as_bucket_view=True)
        return train(model, slice(rank * ROWS, (rank + 1) * ROWS))
    finally:
        dist.destroy_process_group()


def other_process(_: int, folder: str) -> None:
    torch.set_num_threads(1)
    save_file(train_one_of_two(folder, rank=1), Path(folder) / "other.safetensors")


def test_two_processes_are_one_with_the_joined_batch(tmp_path: Path) -> None:
    alone = train(net(), slice(None))
    other = torch.multiprocessing.spawn(other_process, args=(str(tmp_path),), join=False)
    here = train_one_of_two(str(tmp_path), rank=0)
    while not other.join():
        pass
    there = load_file(tmp_path / "other.safetensors")
    assert alone["log_gains"].abs().max() > 0.01
    for name, expected in alone.items():
        assert torch.equal(here[name], there[name])
        torch.testing.assert_close(here[name], expected, rtol=0, atol=1e-6)
