"""What is computed: sizes, the formula written out plainly, and the products that remain."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from geobasin.config import TrainConfig
from geobasin.loss import BasinLoss, separation_shortfall
from geobasin.model import PUBLISHED_SCALES, BasinScores, GeoFractalDavid
from geobasin.train import build_optimizer, parameter_groups

CORNERS = 13


@dataclass(frozen=True)
class Size:
    """How much there is to compute; k is 12.

    Attributes:
        feature_dim: width D of the features.
        classes: number of classes C.
        scales: dimensions of the heads.
        rows: B in a step.
        rounds: turns that are timed.
    """

    feature_dim: int
    classes: int
    scales: tuple[int, ...]
    rows: int
    rounds: int


SIZES = {
    "digits": Size(64, 10, TrainConfig().scales, rows=128, rounds=40),
    "CLINC150": Size(384, 150, TrainConfig().scales, rows=128, rounds=20),
    "published, batch 256": Size(512, 1000, PUBLISHED_SCALES, rows=256, rounds=7),
    "published, batch 1024": Size(512, 1000, PUBLISHED_SCALES, rows=1024, rounds=3),
}
PUBLISHED = SIZES["published, batch 256"]

Score = Callable[[GeoFractalDavid, Tensor], BasinScores]


def build_model(size: Size, simplices: str, device: torch.device) -> GeoFractalDavid:
    """A model of this size, the same at every call."""
    torch.manual_seed(0)
    model = GeoFractalDavid(
        size.feature_dim, size.classes, k=CORNERS - 1, scales=size.scales, simplices=simplices
    )
    return model.to(device)


def batch(size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features [B, D] and labels [B], the same at every call."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(size.rows, size.feature_dim, generator=generator)
    labels = torch.randint(size.classes, (size.rows,), generator=generator)
    return features.to(device), labels.to(device)


def score_by_the_library(model: GeoFractalDavid, features: Tensor) -> BasinScores:
    """What the library does."""
    return model.score(features)


def score_by_the_formula(model: GeoFractalDavid, features: Tensor) -> BasinScores:
    """All C (k + 1) vertices made and all [B, C, k + 1] distances taken, scale by scale."""
    directions = F.normalize(features, dim=-1)
    places = model.cantor_stairs.place(directions)
    kappa = model.cantor_stairs.staircase(places)
    scale_logits = []
    for scale in model.scales:
        head = model.head(scale)
        z = F.normalize(head.projection(directions), dim=-1)
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


def loss_by_the_formula(scores: BasinScores, labels: Tensor) -> Tensor:
    """The library's loss at its defaults, with torch's own cross-entropies."""
    weights = BasinLoss()
    own = scores.cantor_prototypes[:, labels]

    def contrastive(logits: Tensor) -> Tensor:
        smoothing = weights.label_smoothing
        return F.cross_entropy(logits / weights.temperature, labels, label_smoothing=smoothing)

    per_scale = torch.stack([contrastive(logits) for logits in scores.scale_logits]).mean()
    return (
        contrastive(scores.logits)
        + weights.scale_weight * per_scale
        + weights.coherence_weight * (scores.cantor_values - own).square().mean()
        + weights.separation_weight * separation_shortfall(scores.cantor_prototypes)
    )


def reference_step(size: Size, simplices: str, device: torch.device) -> Callable[[], Tensor]:
    """A training step by the formula, with torch's default AdamW; gives the loss."""
    model = build_model(size, simplices, device)
    features, labels = batch(size, device)
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainConfig()), lr=1e-3)

    def step() -> Tensor:
        loss = loss_by_the_formula(score_by_the_formula(model, features), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def library_step(size: Size, simplices: str, device: torch.device) -> Callable[[], Tensor]:
    """A training step as the library takes it, without clipping; gives the loss."""
    model = build_model(size, simplices, device)
    features, labels = batch(size, device)
    loss = BasinLoss()
    optimizer = build_optimizer(model, TrainConfig(lr=1e-3))

    def step() -> Tensor:
        terms = loss(model.score(features), labels)
        optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        optimizer.step()
        return terms.total.detach()

    return step


def products(size: Size, simplices: str, device: torch.device) -> Callable[[], None]:
    """The matrix products of the library's step by themselves, at their shapes: its lower bound.

    Each layer has one product forward and two backward, towards its weights and towards its input;
    the features want no gradient. Rigid simplices are met by their centroids and the k + 1
    directions of the frame, free ones by all their vertices.
    """
    sides = CORNERS + size.classes if simplices == "rigid" else CORNERS * size.classes
    layers: list[tuple[int, int, bool]] = []
    for scale in size.scales:
        layers += [
            (size.feature_dim, 2 * scale, False),
            (2 * scale, scale, True),
            (scale, sides, True),
        ]
    generator = torch.Generator().manual_seed(0)

    def drawn(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator).to(device)

    operands = [
        (drawn(size.rows, inner), drawn(outer, inner), drawn(size.rows, outer), towards_input)
        for inner, outer, towards_input in layers
    ]

    def multiply() -> None:
        for rows, weight, gradient, towards_input in operands:
            torch.mm(rows, weight.T)
            torch.mm(gradient.T, rows)
            if towards_input:
                torch.mm(gradient, weight)

    return multiply


def multiplications(size: Size, simplices: str) -> int:
    """Multiplications in :func:`products`."""
    sides = CORNERS + size.classes if simplices == "rigid" else CORNERS * size.classes
    a_row = sum(
        2 * size.feature_dim * 2 * scale + 3 * 2 * scale * scale + 3 * scale * sides
        for scale in size.scales
    )
    return size.rows * a_row
