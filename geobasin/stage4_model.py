"""The stage's model, ViT-Tiny, its precision, and judging it by the validation images."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geobasin.distributed import Group
from geobasin.image_folder import optional
from geobasin.images import normalise

NAME = "vit_tiny_patch16_224"


@dataclass(frozen=True)
class Validation:
    """What the validation images say.

    Attributes:
        loss: mean cross-entropy in nat.
        acc: share classified rightly, in [0, 1].
    """

    loss: float
    acc: float


def build_vit(image_size: int, num_classes: int, seed: int) -> nn.Module:
    """Make timm's ViT-Tiny: patch 16, dim 192, depth 12, heads 3, a CLS token; nothing pretrained.

    Args:
        image_size: side in pixels, a multiple of 16.
        num_classes: C, >= 2; 0 for no classifier.
        seed: of the weights; torch's own generator is left as it was.

    Returns:
        A model from ``[B, 3, S, S]`` float to logits ``[B, C]``, or without a classifier to
        features ``[B, 192]``.

    Raises:
        GeoBasinError: timm is not installed.
    """
    timm = optional("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            NAME, pretrained=False, img_size=image_size, num_classes=num_classes
        )
    return model


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Compute in bfloat16 where the device does so in hardware, else as the parameters are.

    Args:
        device: what computes.

    Returns:
        A context for the forward pass.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether the stage computes in bfloat16 on this device: a CUDA device that has it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


@torch.no_grad()
def evaluate(
    model: nn.Module, images: DataLoader[tuple[Tensor, Tensor]], group: Group | None = None
) -> Validation:
    """Judge a model by all images of a loader.

    Args:
        model: logits ``[B, C]`` from ``[B, 3, S, S]``.
        images: batches ``([B, 3, S, S] uint8, [B] int64)``.
        group: processes that judge together, each with images of its own; None for this one alone.

    Returns:
        Mean loss and accuracy over the images of the whole group.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, right, seen = 0.0, 0, 0
    for pixels, labels in images:
        labels = labels.to(device, non_blocking=True)
        with autocast(device):
            logits = model(normalise(pixels.to(device, non_blocking=True))).float()
        total += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
    model.train(training)
    total, right_all, seen_all = (group or Group()).sums([total, right, seen])
    return Validation(total / seen_all, right_all / seen_all)
