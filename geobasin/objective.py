"""What a training step minimises, as one module with a forward pass."""

import torch
from torch import Tensor, nn

from geobasin.config import Precision
from geobasin.loss import BasinLoss, BasinTerms
from geobasin.model import GeoFractalDavid


class Objective(nn.Module):
    """Model and loss as one module, so that DistributedDataParallel sees a forward pass.

    Args:
        model: the model.
        loss: the loss.
        precision: what the products with matrices are taken in.
    """

    def __init__(self, model: GeoFractalDavid, loss: BasinLoss, precision: Precision) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.narrow = precision == "bfloat16"

    def forward(self, features: Tensor, labels: Tensor) -> BasinTerms:
        """All terms of the loss for features [B, D] and labels [B]."""
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.narrow):
            terms: BasinTerms = self.loss(self.model.score(features), labels)
        return terms
