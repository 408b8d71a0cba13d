"""What the stage minimises: a classifier on ViT-Tiny's features, and the loss that trains both."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geobasin.loss import BasinLoss
from geobasin.model import BasinScores, GeoFractalDavid

# The geometry that `geobasin train` takes unless told otherwise. On features 192 wide it has about
# a seventh as many parameters as ViT-Tiny.
K = 12
SCALES = (128, 256, 384)
LEVELS = 4


class BasinHead(nn.Module):
    """GeoFractalDavid in the place of a linear classifier.

    It starts at random: the start from training features that frozen features allow has none to
    look at where the encoder itself begins at random.

    Args:
        feature_dim: width D of the features.
        num_classes: C, at least 2.
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.basins = GeoFractalDavid(feature_dim, num_classes, k=K, scales=SCALES, levels=LEVELS)
        self.temperature = BasinLoss().temperature

    def score(self, features: Tensor) -> BasinScores:
        """Score features.

        Args:
            features: ``[B, D]`` of any precision.

        Returns:
            All that :class:`geobasin.loss.BasinLoss` reads.
        """
        return self.basins.score(features.float())

    def forward(self, features: Tensor) -> Tensor:
        """Give logits: the fused compatibilities over the loss's temperature.

        Args:
            features: ``[B, D]`` of any precision.

        Returns:
            ``[B, C]``.
        """
        return self.score(features).logits / self.temperature


class CrossEntropyObjective(nn.Module):
    """Mean cross-entropy of a model's logits.

    Args:
        model: images ``[B, 3, S, S]`` -> logits ``[B, C]``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give what is minimised, a scalar in nat, and the logits, ``[B, C]`` float32."""
        logits = self.model(images).float()
        return F.cross_entropy(logits, labels), logits


class BasinObjective(nn.Module):
    """The total of :class:`geobasin.loss.BasinLoss`, with its defaults.

    Args:
        model: a ViT of timm with a :class:`BasinHead`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = BasinLoss()

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Give what is minimised, a scalar, and the logits, ``[B, C]`` float32."""
        vit: Any = self.model
        features = vit.forward_head(vit.forward_features(images), pre_logits=True)
        scores = vit.head.score(features)
        return self.loss(scores, labels).total, scores.logits.float() / vit.head.temperature


def with_head(head: str, vit: nn.Module, num_classes: int, seed: int) -> nn.Module:
    """Give a ViT the classifier that the settings name.

    Args:
        head: ``linear`` or ``basin``.
        vit: from :func:`geobasin.stage4_model.build_vit`, whose weights stay as they are.
        num_classes: C, at least 2.
        seed: of the basins; torch's own generator is left as it was.

    Returns:
        The same model; its output stays logits ``[B, C]``.
    """
    if head == "basin":
        features: Any = vit.num_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vit.head = BasinHead(features, num_classes)
    return vit


def make_objective(loss: str, model: nn.Module) -> nn.Module:
    """Join a model and a loss in one module, so that DistributedDataParallel sees a forward pass.

    Args:
        loss: ``cross-entropy`` or ``basin``.
        model: from :func:`with_head`.

    Returns:
        Images ``[B, 3, S, S]`` and labels ``[B]`` -> what is minimised, a scalar, and the logits
        ``[B, C]``; its parameters are the model's.
    """
    return BasinObjective(model) if loss == "basin" else CrossEntropyObjective(model)


def describe_head(model: nn.Module) -> dict[str, Any]:
    """Give the settings of a basin head as JSON holds them, under ``head``; of others nothing."""
    head = getattr(model, "head", None)
    if not isinstance(head, BasinHead):
        return {}
    return {"head": {**head.basins.settings, "temperature": head.temperature}}
