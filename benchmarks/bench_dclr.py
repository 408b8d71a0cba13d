"""A step of DCLR on ViT-Tiny next to torch's foreach AdamW, taken in turns; telemetry is off."""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn
from turns import take_turns

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
    benchmark: BenchmarkFixture, device: torch.device, record, method: str
) -> None:
    """The optimiser's step alone; every round is one step of each, on parameters of its own."""
    reference = torch.optim.AdamW(vit_tiny(device), lr=1e-4, foreach=True)
    optimizer = METHODS[method](vit_tiny(device))
    benchmark.group = "optimiser's step, ViT-Tiny"
    # Four steps are one turn of refresh=4.
    turns = take_turns(
        benchmark, optimizer.step, {"foreach AdamW": reference.step}, device, PAIRS, warmup=4
    )
    record(
        "optimiser's step",
        method=method,
        seconds=turns.seconds(),
        times_quicker=turns.times_quicker_than("foreach AdamW"),
    )
