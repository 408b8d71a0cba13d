"""A step of DCLR on ViT-Tiny next to torch's foreach AdamW, taken in turns; telemetry is off."""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from geobasin.dclr import DCLR

pytest.importorskip("timm")

PAIRS = 40

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

METHODS: dict[str, Make] = {
    "DCLR": lambda p: DCLR(p, lr=1e-4),
    "DCLR, refresh=4": lambda p: DCLR(p, lr=1e-4, refresh=4),
    "DCLR, coupling=0": lambda p: DCLR(p, lr=1e-4, coupling=0.0),
    "AdamW, a loop": lambda p: torch.optim.AdamW(p, lr=1e-4, foreach=False),
}


def vit_tiny(device: torch.device) -> list[nn.Parameter]:
    """The parameters of a ViT-Tiny for images of 64 pixels, with gradients of noise."""
    import timm

    model = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=10).to(device)
    parameters = list(model.parameters())
    generator = torch.Generator().manual_seed(0)
    for p in parameters:
        p.grad = (1e-3 * torch.randn(p.shape, generator=generator)).to(device)
    return parameters


@pytest.mark.parametrize("method", METHODS)
def test_optimizer_step(
    benchmark: BenchmarkFixture,
    device: torch.device,
    record_ratios: dict[str, list[float]],
    method: str,
) -> None:
    """The optimiser's step alone; every round is one step of each, on parameters of its own."""
    reference = torch.optim.AdamW(vit_tiny(device), lr=1e-4, foreach=True)
    optimizer = METHODS[method](vit_tiny(device))
    seconds: list[float] = []

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def step() -> None:
        optimizer.step()
        settle()

    def step_of_the_reference() -> None:
        settle()
        began = time.perf_counter()
        reference.step()
        settle()
        seconds.append(time.perf_counter() - began)

    # Four steps are one turn of refresh=4.
    for _ in range(4):
        step_of_the_reference()
        step()
    seconds.clear()
    benchmark.group = "optimiser's step, ViT-Tiny"
    benchmark.pedantic(step, setup=step_of_the_reference, rounds=PAIRS)
    record_ratios[method] = [
        ours / theirs for ours, theirs in zip(benchmark.stats.stats.data, seconds, strict=True)
    ]
    benchmark.extra_info["median ratio to foreach AdamW"] = statistics.median(record_ratios[method])
