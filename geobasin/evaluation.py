"""Accuracy of a model on a split, fused and at every scale."""

from dataclasses import dataclass

import torch

from geobasin.feature_set import Split
from geobasin.model import GeoFractalDavid

# Bounds the memory of one pass; [rows, C, k + 1] distances are the largest thing in it.
_ROWS = 4096


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on one split.

    Attributes:
        accuracy: of the fused logits, as a fraction.
        scale_accuracy: of each scale on its own, as fractions.
    """

    accuracy: float
    scale_accuracy: dict[int, float]


@torch.no_grad()
def evaluate(model: GeoFractalDavid, split: Split) -> Evaluation:
    """Accuracy of a model on one split, fused and per scale.

    Args:
        model: on the split's device; put into evaluation mode.
        split: rows with labels.

    Returns:
        Fractions of the rows whose largest logit is their label's.
    """
    model.eval()
    fused = torch.zeros((), device=split.labels.device)
    by_scale = torch.zeros(len(model.scales), device=split.labels.device)
    for features, labels in zip(
        split.features.split(_ROWS), split.labels.split(_ROWS), strict=True
    ):
        scores = model.score(features)
        fused += (scores.logits.argmax(-1) == labels).sum()
        by_scale += (scores.scale_logits.argmax(-1) == labels).sum(-1)
    shares = (by_scale / len(split)).tolist()
    return Evaluation(
        accuracy=float(fused) / len(split),
        scale_accuracy=dict(zip(model.scales, shares, strict=True)),
    )
