"""Cross-entropy at a temperature, which keeps one number a row for the gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def cross_entropy(
    logits: Tensor, labels: Tensor, temperature: float, label_smoothing: float
) -> Tensor:
    """Mean cross-entropy of ``logits / temperature``, as torch's, over rows and leading sizes.

    ``log sum_c exp(x_c) - (1 - e) x_y - e mean_c x_c`` with ``x = logits / temperature`` and e the
    label smoothing. Torch's own keeps an array of the size of the logits for the backward pass;
    this one keeps the logits, which are there already, and a sum for each row.

    Args:
        logits: [..., B, C].
        labels: [B] int64 in [0, C).
        temperature: above 0.
        label_smoothing: e, share of the target spread over all classes, 0 to 1.

    Returns:
        Mean, a scalar, nat.
    """
    if torch.compiler.is_compiling():
        rows = logits.flatten(0, -2)
        targets = labels.expand(logits.shape[:-1]).flatten()
        return F.cross_entropy(rows / temperature, targets, label_smoothing=label_smoothing)
    result: Tensor = _CrossEntropy.apply(logits, labels, temperature, label_smoothing)
    return result


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, temperature: float, smoothing: float
    ) -> Tensor:
        blocks = logits.unsqueeze(0).flatten(0, -3)
        # One leading entry after the other, so that what is needed meanwhile stays small.
        sums = torch.stack([(block / temperature).logsumexp(-1) for block in blocks])
        own = blocks.gather(2, labels.expand(len(blocks), -1).unsqueeze(2)).squeeze(2)
        target = (1 - smoothing) * own
        if smoothing:
            target = target + smoothing * blocks.mean(-1)
        ctx.save_for_backward(logits, labels, sums)
        ctx.temperature, ctx.smoothing = temperature, smoothing
        return (sums - target / temperature).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, sums = ctx.saved_tensors
        blocks = logits.unsqueeze(0).flatten(0, -3)
        shares = (blocks / ctx.temperature).sub_(sums.unsqueeze(2)).exp_()
        if ctx.smoothing:
            shares.sub_(ctx.smoothing / shares.shape[2])
        index = labels.expand(len(blocks), -1).unsqueeze(2)
        shares.scatter_add_(2, index, shares.new_full((), ctx.smoothing - 1).expand(index.shape))
        shares.mul_(grad / (ctx.temperature * sums.numel()))
        return shares.view_as(logits), None, None, None
