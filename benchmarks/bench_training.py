"""A training step of GeoFractalDavid, next to the same step written straight from the formula."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.nn import functional as F

from geobasin.config import TrainConfig
from geobasin.loss import BasinLoss
from geobasin.model import PUBLISHED_SCALES, BasinScores, GeoFractalDavid
from geobasin.train import parameter_groups


@dataclass(frozen=True)
class Size:
    """How much there is to compute.

    Attributes:
        feature_dim: width D of the features.
        classes: number of classes C.
        scales: dimensions of the heads.
        rows: B in a step.
        rounds: steps that are timed.
    """

    feature_dim: int
    classes: int
    scales: tuple[int, ...]
    rows: int
    rounds: int


SIZES = {
    "digits": Size(64, 10, TrainConfig().scales, rows=128, rounds=30),
    "clinc150": Size(384, 150, TrainConfig().scales, rows=128, rounds=20),
    "published": Size(512, 1000, PUBLISHED_SCALES, rows=128, rounds=4),
}

Score = Callable[[GeoFractalDavid, Tensor], BasinScores]


def score_by_the_library(model: GeoFractalDavid, features: Tensor) -> BasinScores:
    return model.score(features)


def score_by_the_formula(model: GeoFractalDavid, features: Tensor) -> BasinScores:
    """All C (k + 1) vertices made and all [B, C, k + 1] distances taken, scale by scale."""
    directions = F.normalize(features, dim=-1)
    places = model.cantor_stairs.place(directions)
    kappa = model.cantor_stairs.staircase(places)
    scale_logits = []
    for scale in model.scales:
        head = model.head(scale)
        z = head.project(directions)
        vertices = head.vertices()
        classes, corners, _ = vertices.shape
        feature = z @ F.normalize(vertices.mean(dim=1), dim=-1).T
        cantor = -((kappa[:, None] - head.cantor_prototypes) ** 2)
        distances = torch.cdist(z, vertices.flatten(0, 1)).view(len(z), classes, corners)
        crystal = -distances.min(dim=-1).values
        weights = torch.softmax(head.geo_weights, dim=0)
        scale_logits.append(weights[0] * feature + weights[1] * cantor + weights[2] * crystal)
    stacked = torch.stack(scale_logits)
    fusion = torch.softmax(model.fusion_weights, dim=0)
    return BasinScores(
        logits=(fusion[:, None, None] * stacked).sum(dim=0),
        scale_logits=stacked,
        cantor_values=kappa,
        digits=model.cantor_stairs.digit_distribution(places),
        cantor_prototypes=torch.stack([model.head(s).cantor_prototypes for s in model.scales]),
    )


METHODS: dict[str, Score] = {"reference": score_by_the_formula, "library": score_by_the_library}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("simplices", ["rigid", "free"])
@pytest.mark.parametrize("name", SIZES)
def test_step(
    benchmark: BenchmarkFixture,
    device: torch.device,
    record_quickest: dict[str, dict[str, float]],
    name: str,
    simplices: str,
    method: str,
) -> None:
    """Forward, loss, backward and AdamW on one batch that stays the same."""
    size = SIZES[name]
    torch.manual_seed(0)
    model = GeoFractalDavid(size.feature_dim, size.classes, scales=size.scales, simplices=simplices)
    model.to(device)
    features = torch.randn(size.rows, size.feature_dim, device=device)
    labels = torch.randint(size.classes, (size.rows,), device=device)
    with torch.no_grad():
        expected, given = (score(model, features).logits for score in METHODS.values())
    torch.testing.assert_close(given, expected, atol=1e-3, rtol=1e-3)
    loss = BasinLoss()
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainConfig()), lr=1e-3)
    score = METHODS[method]

    def step() -> None:
        terms = loss(score(model, features), labels)
        optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work = f"{name}, {simplices} simplices"
    benchmark.group = work
    benchmark.pedantic(step, rounds=size.rounds, warmup_rounds=2)
    record_quickest[work][method] = benchmark.stats.stats.min
