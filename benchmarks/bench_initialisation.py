"""Building the published model, next to building its simplices one class after the other."""

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn
from turns import take_turns
from workload import PUBLISHED, build_model

from geobasin.simplex import orthonormal_frame, regular_simplex, unit_directions

ROUNDS = 4


def class_by_class() -> list[list[Tensor]]:
    """Projections as the library makes them, and a simplex for each class on its own.

    Every class draws a frame, where the library's classes share one at each scale.
    """
    made = []
    for scale in PUBLISHED.scales:
        nn.Linear(PUBLISHED.feature_dim, 2 * scale)
        nn.Linear(2 * scale, scale)
        simplices = []
        for _ in range(PUBLISHED.classes):
            corners = regular_simplex(12) @ orthonormal_frame(scale, 12).T
            simplices.append(unit_directions(1, scale) + 0.5 * corners)
        made.append([torch.stack(simplices)])
    return made


def test_initialisation(benchmark: BenchmarkFixture, device: torch.device, record) -> None:
    """Free simplices, the published form: 206 MB of vertices."""
    benchmark.group = "initialisation, published"
    turns = take_turns(
        benchmark,
        lambda: build_model(PUBLISHED, "free", device),
        {"reference": class_by_class},
        device,
        ROUNDS,
    )
    record(
        "initialisation",
        simplices="free",
        seconds=turns.seconds(),
        times_quicker=turns.times_quicker_than("reference"),
    )
