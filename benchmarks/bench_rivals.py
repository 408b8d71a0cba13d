"""A training step of GeoFractalDavid next to one of the heads it is compared with."""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn
from torch.nn import functional as F
from turns import Work, take_turns
from workload import PUBLISHED, batch, library_step

ROUNDS = 6


def plain_step(head: nn.Module, device: torch.device) -> Work:
    """Forward, cross-entropy, backward and fused AdamW of a head over normalised features."""
    head = head.to(device)
    features, labels = batch(PUBLISHED, device)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        loss = F.cross_entropy(head(F.normalize(features, dim=-1)), labels, label_smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_step_next_to_the_rivals(
    benchmark: BenchmarkFixture, device: torch.device, record, simplices: str
) -> None:
    """With equal epochs and batches the ratio of the steps is that of the whole trainings."""
    width, scale = PUBLISHED.feature_dim, max(PUBLISHED.scales)
    perceptron = nn.Sequential(
        nn.Linear(width, 2 * scale),
        nn.GELU(),
        nn.LayerNorm(2 * scale),
        nn.Linear(2 * scale, scale),
        nn.Linear(scale, PUBLISHED.classes),
    )
    others = {
        "MLP head": plain_step(perceptron, device),
        "logistic regression": plain_step(nn.Linear(width, PUBLISHED.classes), device),
    }
    benchmark.group = f"rivals, published, {simplices}"
    turns = take_turns(
        benchmark, library_step(PUBLISHED, simplices, device), others, device, ROUNDS
    )
    record(
        "rivals",
        simplices=simplices,
        seconds=turns.seconds(),
        times_quicker={name: turns.times_quicker_than(name) for name in others},
    )
