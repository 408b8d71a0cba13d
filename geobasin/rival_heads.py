"""Heads that GeoFractalDavid is compared with: cosine, multilayer perceptron, SoftTriple."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geobasin.simplex import unit_directions

# Inside the root, so that two centres that have met still have a finite gradient.
_ROOT_FLOOR = 1e-8


class RivalHead(nn.Module):
    """A classifier over features of length 1, trained by cross-entropy on its logits."""

    def logits(self, directions: Tensor) -> Tensor:
        """Logits of features of length 1: [B, D] to [B, C]."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features; their length does not matter: [B, D] to [B, C]."""
        return self.logits(F.normalize(features, dim=-1))

    def loss(self, features: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """What training minimises.

        Args:
            features: [B, D].
            labels: [B] int64 in [0, C).
            label_smoothing: share of the target spread over all classes, 0 to 1.

        Returns:
            Loss in nat, a scalar.
        """
        return F.cross_entropy(self(features), labels, label_smoothing=label_smoothing)


class CosineHead(RivalHead):
    """Cosine classifier ``cos(f, w_c) / T`` with a learned temperature T (Gidaris, Komodakis 2018).

    Args:
        feature_dim: width D of the features.
        num_classes: C.
        temperature: start of T, above 0.
    """

    def __init__(self, feature_dim: int, num_classes: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(unit_directions(num_classes, feature_dim))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def logits(self, directions: Tensor) -> Tensor:
        """Logits of features of length 1: [B, D] to [B, C]."""
        return directions @ F.normalize(self.weight, dim=-1).T / self.log_temperature.exp()


class PerceptronHead(RivalHead):
    """A projection with a hidden layer, and a linear layer on top: a multilayer perceptron.

    Args:
        projection: [B, D] to [B, s].
        scale: width s of its output.
        num_classes: C.
    """

    def __init__(self, projection: nn.Module, scale: int, num_classes: int) -> None:
        super().__init__()
        self.projection = projection
        self.linear = nn.Linear(scale, num_classes)

    def logits(self, directions: Tensor) -> Tensor:
        """Logits of features of length 1: [B, D] to [B, C]."""
        return self.linear(self.projection(directions))


class SoftTripleHead(RivalHead):
    """Several centres w a class, of length 1, on the normalised projection z (Qian et al. 2019).

    ``S_c = sum_k softmax_k(z.w_ck / gamma) z.w_ck`` is the similarity to a class; the logits are
    ``sharpness S_c``. The loss is their cross-entropy after the margin is taken off the right
    class's similarity, plus ``merging`` times the mean distance of centres within a class, which
    lets a class use fewer centres (equations 8 to 10 there; its constants are the defaults).

    Args:
        projection: [B, D] to [B, s].
        scale: width s of its output.
        num_classes: C.
        centres: number of centres K a class, at least 1.
        sharpness: lambda.
        gamma: temperature of the choice between centres, above 0.
        margin: delta.
        merging: tau, weight of the distances between centres.
    """

    def __init__(
        self,
        projection: nn.Module,
        scale: int,
        num_classes: int,
        centres: int,
        sharpness: float = 20.0,
        gamma: float = 0.1,
        margin: float = 0.01,
        merging: float = 0.2,
    ) -> None:
        super().__init__()
        self.projection = projection
        directions = unit_directions(num_classes * centres, scale)
        self.centres = nn.Parameter(directions.unflatten(0, (num_classes, centres)))
        self.sharpness = sharpness
        self.gamma = gamma
        self.margin = margin
        self.merging = merging

    def logits(self, directions: Tensor) -> Tensor:
        """Logits of features of length 1: [B, D] to [B, C]."""
        z = F.normalize(self.projection(directions), dim=-1)
        centres = F.normalize(self.centres, dim=-1)
        products = (z @ centres.flatten(0, 1).T).unflatten(1, centres.shape[:2])
        shares = torch.softmax(products / self.gamma, dim=-1)
        return self.sharpness * (shares * products).sum(-1)

    def loss(self, features: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """Cross-entropy with the margin, plus the weighted distances between a class's centres.

        Args:
            features: [B, D].
            labels: [B] int64 in [0, C).
            label_smoothing: share of the target spread over all classes, 0 to 1.

        Returns:
            Loss, a scalar.
        """
        logits = self(features)
        right = F.one_hot(labels, logits.shape[1]) * (self.sharpness * self.margin)
        entropy = F.cross_entropy(logits - right, labels, label_smoothing=label_smoothing)
        return entropy + self.merging * self.centre_distance()

    def centre_distance(self) -> Tensor:
        """Half the mean distance between two centres of one class, as the paper scales it.

        Returns:
            ``sum_c sum_(t<s) |w_ct - w_cs| / (C K (K - 1))``, a scalar; 0 for one centre (K = 1).
        """
        classes, count, _ = self.centres.shape
        if count == 1:
            return self.centres.new_zeros(())
        centres = F.normalize(self.centres, dim=-1)
        cosines = centres @ centres.transpose(1, 2)
        first, second = torch.triu_indices(count, count, offset=1)
        squared = 2 - 2 * cosines[:, first, second]
        distances = (squared.clamp_min(0) + _ROOT_FLOOR).sqrt()
        return distances.sum() / (classes * count * (count - 1))
