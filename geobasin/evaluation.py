"""Accuracy of a model on a split, fused and at every scale."""

from dataclasses import dataclass

import torch

from geobasin.distributed import Group
from geobasin.feature_set import Split
from geobasin.model import GeoFractalDavid

# Bounds the memory of one pass; compatibilities at every scale, [S, rows, C], lead in it.
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
def evaluate(model: GeoFractalDavid, split: Split, group: Group | None = None) -> Evaluation:
    """Accuracy of a model on one split, fused and per scale.

    The processes of a group share the rows, each row going to one of them, and add up what they
    have counted; all must call it.

    Args:
        model: on the split's device; put into evaluation mode.
        split: rows with labels.
        group: the processes that evaluate together.

    Returns:
        Fractions of the rows whose largest logit is their label's.
    """
    model.eval()
    group = group or Group()
    right = torch.zeros(1 + len(model.scales), dtype=torch.int64, device=split.labels.device)
    for features, labels in split.chunks(_ROWS):
        own = labels[group.rank :: group.size]
        scores = model.score(features[group.rank :: group.size])
        right[0] += (scores.logits.argmax(-1) == own).sum()
        right[1:] += (scores.scale_logits.argmax(-1) == own).sum(-1)
    fused, *by_scale = (count / len(split) for count in group.sums(right.tolist()))
    return Evaluation(fused, dict(zip(model.scales, by_scale, strict=True)))
