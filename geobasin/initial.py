"""Starting values for a model, taken from its training features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geobasin.head import GeometricHead
from geobasin.model import GeoFractalDavid

# tanh of a normal variable with this deviation is closest to uniform on (-1, 1).
_SPREAD = 0.9
_SHRINKAGE = 0.05
# Covariances of a few hundred features are known well enough from this many rows.
MOST_ROWS = 100_000
# Bounds the memory of one pass through a projection.
_ROWS = 8192


@torch.no_grad()
def initialise(model: GeoFractalDavid, features: Tensor, labels: Tensor) -> None:
    """Start a model from its training features, before the first step.

    - The first layer of each projection is rescaled so that its outputs have deviation 1 over the
      features; without it, features of length 1 stay in GELU's linear range.
    - Each class simplex is centred at the mean of its class's projected features.
    - The Cantor coordinate starts along the first linear discriminant, the direction that
      explains the classes best, and the prototypes at the ranks of the class means along it.

    Args:
        model: changed in place.
        features: training features, [N, D].
        labels: [N] int64 in [0, C), on the same device.
    """
    rows = min(len(features), MOST_ROWS)
    directions = F.normalize(features[:rows], dim=-1)
    labels = labels[:rows]
    seen = torch.bincount(labels, minlength=model.num_classes) > 0
    centre = directions.mean(0)
    centred = directions - centre
    covariance = centred.T @ centred / max(rows - 1, 1)
    for scale in model.scales:
        head = model.head(scale)
        first = head.projection[0]
        assert isinstance(first, nn.Linear)
        # Deviations of W x follow from the covariance of x, for any number of rows.
        variance = ((first.weight @ covariance) * first.weight).sum(1)
        deviation = variance.clamp_min(0).sqrt().clamp_min(1e-6)
        first.weight /= deviation.unsqueeze(1)
        first.bias.copy_(-(first.weight @ centre))
        centroids = F.normalize(_projected_means(head, directions, labels), dim=-1)
        head.place_centroids(torch.where(seen.unsqueeze(1), centroids, head.class_centroids()))
    _start_on_the_line(model, directions, labels, seen)


def _start_on_the_line(
    model: GeoFractalDavid, directions: Tensor, labels: Tensor, seen: Tensor
) -> None:
    weight = first_discriminant(directions, labels, model.num_classes)
    coordinate = directions @ weight
    scale = _SPREAD / coordinate.std().clamp_min(1e-6)
    line = model.cantor_stairs.feature_to_position
    line.weight.copy_((scale * weight).unsqueeze(0))
    line.bias.copy_(-scale * coordinate.mean().unsqueeze(0))
    values = model.get_cantor_values(directions)
    means = _class_means(values.unsqueeze(1), labels, model.num_classes).squeeze(1)
    # A class without rows has no place yet; it goes to the end of the line.
    order = torch.where(seen, means, torch.inf).argsort().argsort()
    for scale_ in model.scales:
        model.head(scale_).cantor_prototypes.copy_((order + 0.5) / model.num_classes)


def _projected_means(head: GeometricHead, directions: Tensor, labels: Tensor) -> Tensor:
    """Mean of each class's projected features, a few rows at a time, [C, s]."""
    classes = len(head.cantor_prototypes)
    sums = torch.zeros_like(head.class_centroids())
    for rows, own in zip(directions.split(_ROWS), labels.split(_ROWS), strict=True):
        sums.index_add_(0, own, head.project(rows))
    return sums / torch.bincount(labels, minlength=classes).clamp_min(1).unsqueeze(1)


def first_discriminant(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Fisher's first linear discriminant: the direction with most variance between the classes.

    It maximises ``w^T B w / w^T W w`` with B the covariance between the classes and W the one
    within them, shrunk by 5 % towards a multiple of the identity (Fisher 1936).

    Args:
        features: [N, D].
        labels: [N] int64 in [0, classes).
        classes: C.

    Returns:
        Direction w of length 1, [D]; its sign makes the largest entry positive.
    """
    rows = features.double()
    means = _class_means(rows, labels, classes)
    centred = means[labels] - rows.mean(0)
    residual = rows - means[labels]
    between = centred.T @ centred / len(rows)
    within = residual.T @ residual / len(rows)
    width = within.shape[0]
    # The last term keeps W invertible where a feature, or every class, has no spread.
    floor = _SHRINKAGE * within.diagonal().mean() + 1e-12
    within = (1 - _SHRINKAGE) * within + floor * torch.eye(width).to(within)
    root = torch.linalg.cholesky(within)
    whitened = torch.linalg.solve_triangular(root, between, upper=False)
    whitened = torch.linalg.solve_triangular(root, whitened.T, upper=False)
    top = torch.linalg.eigh(whitened).eigenvectors[:, -1:]
    weight = torch.linalg.solve_triangular(root.T, top, upper=True).squeeze(1)
    weight = F.normalize(weight, dim=0)
    return (weight * torch.sign(weight[weight.abs().argmax()])).to(features.dtype)


def _class_means(values: Tensor, labels: Tensor, classes: int) -> Tensor:
    sums = values.new_zeros(classes, values.shape[1]).index_add_(0, labels, values)
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return sums / counts.unsqueeze(1)
