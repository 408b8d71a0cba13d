"""Compatibility of points and classes: the weighted sum of feature, cantor and crystal."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from geobasin.nearest import ROOT_FLOOR, Products, distance

_LEAST = ROOT_FLOOR**0.5 * (1 + 1e-6)


def compatibility(
    products: Products, cantor_values: Tensor, places: Tensor, weights: Tensor
) -> Tensor:
    """Compatibilities in a few passes over [B, C], of which two arrays stay for the gradient.

    ``w_0 cos(z, centroid_c) - w_1 (kappa - p_c)^2 - w_2 min_j |z - v_cj|``.

    Args:
        products: of B points with C classes.
        cantor_values: kappa, [B].
        places: p, [C].
        weights: w, [3].

    Returns:
        Compatibilities, [B, C].
    """
    scores: Tensor = _Compatibility.apply(
        products.centroid,
        products.squared,
        products.norm.clamp_min(1e-12),
        cantor_values.to(products.centroid.dtype),
        places,
        weights,
    )
    return scores


class _Compatibility(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        products: Tensor,
        squared: Tensor,
        norm: Tensor,
        kappa: Tensor,
        places: Tensor,
        weights: Tensor,
    ) -> Tensor:
        feature, cantor, crystal = weights.unbind()
        root = distance(squared)
        gap = kappa.unsqueeze(1) - places
        scores = products * (feature / norm)
        scores -= gap.square_().mul_(cantor)
        scores -= root * crystal
        ctx.save_for_backward(products, root, norm, kappa, places, weights)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        products, root, norm, kappa, places, weights = ctx.saved_tensors
        feature, cantor, crystal = weights.unbind()
        # Where the square was below 0 the root is the floor's, up to rounding, and nothing flows.
        to_squared = torch.where(root > _LEAST, grad, 0.0).div_(root).mul_(-crystal / 2)
        by_norm = (grad * products).sum(0) / norm
        # Sums of the gradient, alone and weighted by kappa and by kappa squared, over the rows.
        powers = torch.stack([torch.ones_like(kappa), kappa, kappa.square()])
        plain, first, second = (powers @ grad).unbind()
        by_row, by_place = (grad @ torch.stack([torch.ones_like(places), places], dim=1)).unbind(1)
        to_kappa = -2 * cantor * (kappa * by_row - by_place)
        to_places = 2 * cantor * (first - places * plain)
        spread = (second - 2 * places * first + places.square() * plain).sum()
        to_weights = torch.stack([by_norm.sum(), -spread, -(grad * root).sum()])
        to_norm = -feature * by_norm / norm
        return grad * (feature / norm), to_squared, to_norm, to_kappa, to_places, to_weights
