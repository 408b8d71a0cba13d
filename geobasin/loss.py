"""BasinLoss: a contrastive term over compatibilities, and three that shape the Cantor line."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from geobasin.cross_entropy import cross_entropy
from geobasin.errors import GeoBasinError
from geobasin.model import BasinScores


class BasinTerms(NamedTuple):
    """The terms of the loss, each unweighted and averaged over the batch.

    Attributes:
        total: the weighted sum that is minimised.
        contrastive: cross-entropy of the fused compatibilities over the temperature, nat.
        scale_contrastive: the same, averaged over the scales on their own, nat.
        coherence: mean of ``(kappa - p_y)^2`` over rows and scales.
        separation: how far the sorted prototypes fall short of even gaps, 0 (even) to 1.
        discretisation: entropy of the soft ternary digit, nat.
    """

    total: Tensor
    contrastive: Tensor
    scale_contrastive: Tensor
    coherence: Tensor
    separation: Tensor
    discretisation: Tensor


class BasinLoss(nn.Module):
    """The contrastive geometric loss.

    ``total = contrastive + scale_weight scale_contrastive + coherence_weight coherence
    + separation_weight separation + discretisation_weight discretisation``.

    The contrastive terms are cross-entropies: their logits are geometric scores in place of
    ``W f + b``, which the model card (source document 000) says as well.

    Args:
        temperature: divides the compatibilities, above 0.
        label_smoothing: share of the target spread over all classes, 0 to 1.
        scale_weight: weight of the per-scale contrastive term.
        coherence_weight: weight of the coherence term.
        separation_weight: weight of the separation term.
        discretisation_weight: weight of the discretisation term.

    Raises:
        GeoBasinError: a setting outside its range.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        label_smoothing: float = 0.1,
        scale_weight: float = 1.0,
        coherence_weight: float = 1.0,
        separation_weight: float = 0.3,
        discretisation_weight: float = 0.0,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise GeoBasinError(f"temperature must be above 0, not {temperature}")
        if not 0 <= label_smoothing < 1:
            raise GeoBasinError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.scale_weight = scale_weight
        self.coherence_weight = coherence_weight
        self.separation_weight = separation_weight
        self.discretisation_weight = discretisation_weight

    def forward(self, scores: BasinScores, labels: Tensor) -> BasinTerms:
        """Compute every term.

        Args:
            scores: one pass of the model over B rows.
            labels: classes, [B] int64 in [0, C).

        Returns:
            All terms, each a scalar.
        """
        contrastive = self._cross_entropy(scores.logits, labels)
        scale_contrastive = self._cross_entropy(scores.scale_logits, labels)
        own_prototypes = scores.cantor_prototypes[:, labels]
        coherence = (scores.cantor_values - own_prototypes).square().mean()
        separation = separation_shortfall(scores.cantor_prototypes)
        discretisation = torch.special.entr(scores.digits).sum(-1).mean()
        total = (
            contrastive
            + self.scale_weight * scale_contrastive
            + self.coherence_weight * coherence
            + self.separation_weight * separation
            + self.discretisation_weight * discretisation
        )
        return BasinTerms(
            total, contrastive, scale_contrastive, coherence, separation, discretisation
        )

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, self.temperature, self.label_smoothing)


def separation_shortfall(prototypes: Tensor) -> Tensor:
    """How far sorted prototypes fall short of even gaps on [0, 1].

    A hinge on each gap between neighbours against 1/C, and on the two gaps to the walls at 0 and
    1 against 1/(2C), each relative to what it should be; a prototype outside [0, 1] falls short
    by more than 1.

    Args:
        prototypes: [..., C].

    Returns:
        Mean shortfall, a scalar; 0 exactly when the prototypes are ``(i + 1/2)/C`` in some order.
    """
    count = prototypes.shape[-1]
    ordered = prototypes.sort(dim=-1).values
    inner = 1 - count * ordered.diff(dim=-1)
    walls = 1 - 2 * count * torch.stack([ordered[..., 0], 1 - ordered[..., -1]], dim=-1)
    return torch.relu(torch.cat([inner, walls], dim=-1)).mean()
