"""From the wide layer of a projection to the unit sphere, keeping little for the gradient."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# As in torch's normalize: a point at the origin stays there.
_SHORTEST = 1e-12


def contract(hidden: Tensor, norm: nn.LayerNorm, linear: nn.Linear) -> Tensor:
    """Give ``y / |y|`` with ``y = linear(norm(gelu(hidden)))``.

    GELU and LayerNorm cost little beside the products before and after them, so that the backward
    pass makes them again rather than keep them: the input and the result are all that stays.

    Args:
        hidden: [B, m].
        norm: over m.
        linear: m to s.

    Returns:
        Points of length 1, [B, s], in float32 at least.
    """
    if torch.compiler.is_compiling():
        # A compiler decides by itself what to keep.
        return _normalise(linear(_activate(hidden, norm.weight, norm.bias, norm.eps)))[0]
    point: Tensor = _Contraction.apply(
        hidden, norm.weight, norm.bias, norm.eps, linear.weight, linear.bias
    )
    return point


def _activate(hidden: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    # LayerNorm's sums are taken in the type of its own parameters, also under autocast.
    return F.layer_norm(F.gelu(hidden).to(gain.dtype), gain.shape, gain, shift, eps)


def _normalise(raw: Tensor) -> tuple[Tensor, Tensor]:
    raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
    length = torch.linalg.vector_norm(raw, dim=-1, keepdim=True).clamp_min(_SHORTEST)
    return raw / length, length


class _Contraction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        gain: Tensor,
        shift: Tensor,
        eps: float,
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        raw = F.linear(_activate(hidden, gain, shift, eps), weight, bias)
        point, length = _normalise(raw)
        ctx.save_for_backward(hidden, gain, shift, weight, point, length)
        ctx.eps, ctx.narrow = eps, raw.dtype
        return point

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gain, shift, weight, point, length = ctx.saved_tensors
        # Only what is perpendicular to the point turns it; at the origin nothing is divided out.
        along = (grad * point).sum(-1, keepdim=True).masked_fill_(length <= _SHORTEST, 0)
        to_raw = torch.addcmul(grad, point, along, value=-1).div_(length).to(ctx.narrow)
        active = F.gelu(hidden).to(gain.dtype)
        normed, mean, inverse = torch.native_layer_norm(active, gain.shape, gain, shift, ctx.eps)
        to_weight = (to_raw.T @ normed.to(ctx.narrow)).to(weight.dtype)
        # Each of these is as large as what is saved: none lives longer than it must.
        del normed
        to_normed = (to_raw @ weight.to(ctx.narrow)).to(gain.dtype)
        to_active, to_gain, to_shift = torch.ops.aten.native_layer_norm_backward(
            to_normed, active, gain.shape, mean, inverse, gain, shift, [True, True, True]
        )
        del to_normed, active
        to_hidden = torch.ops.aten.gelu_backward(to_active.to(hidden.dtype), hidden)
        to_bias = to_raw.sum(0).to(weight.dtype)
        return to_hidden, to_gain, to_shift, None, to_weight, to_bias
