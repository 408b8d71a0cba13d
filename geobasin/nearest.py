"""Points against class simplices: products and nearest corners, [B, C] all along.

A class has k + 1 corners, but only the nearest one matters. The products of all of them,
[B, C, k + 1], are therefore made corner by corner, and the backward pass is given no more than the
number of the nearest corner, one byte for each point and class. Where the whole fits into quick
memory, or a compiler joins the steps, all corners are taken at once; the result is the same.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Inside the root, so that a point on a vertex still has a finite gradient.
ROOT_FLOOR = 1e-8
# Below this many products a loop over the corners costs more than it saves.
_FEW = 2**16
# Products of all corners that an accelerator may hold at once: one gibibyte in float32.
_MANY = 2**28


class Products(NamedTuple):
    """What points and class simplices have to do with each other, before any root or quotient.

    Attributes:
        centroid: inner product of z with each class's centroid, [B, C].
        squared: squared distance of z to each class's nearest vertex, [B, C]; rounding can take
            it a little below 0.
        norm: length of each class's centroid, [C].
    """

    centroid: Tensor
    squared: Tensor
    norm: Tensor


def rigid_products(
    z: Tensor, centroids: Tensor, radii: Tensor, frame: Tensor, corners: Tensor
) -> Products:
    """Products with rigid simplices, whose vertices are never made.

    ``|z - v_cj|^2 = |z - mu_c|^2 + r_c^2 - 2 r_c (zU - mu_c U).x_j``, so that ``z mu^T`` and
    ``zU`` give all distances: C (s + k) multiplications a point in place of C (k + 1) s.

    Args:
        z: points, [B, s], of length 1.
        centroids: mu, [C, s].
        radii: r, [C], above 0.
        frame: U, [s, k], orthonormal columns.
        corners: x, the regular simplex, [k + 1, k].

    Returns:
        Products in float32 at least; autocast decides what the matrix products take in.
    """
    wide = _wide(z)
    directions = corners @ frame.T
    products = (z @ centroids.T).to(wide)
    along_z = (z @ directions.T).to(wide)
    along_centroids = (centroids @ directions.T).to(wide)
    squared_norms = centroids.to(wide).square().sum(-1)
    squared = _RigidSquares.apply(
        products,
        squared_norms,
        radii.to(wide),
        along_z,
        along_centroids,
        torch.is_grad_enabled(),
    )
    return Products(products, squared, squared_norms.sqrt())


def free_products(z: Tensor, vertices: Tensor) -> Products:
    """Products with simplices whose vertices are all free, from one matrix product.

    ``z . centroid`` is the mean of ``z . v_j``, and ``|z - v|^2 = |z|^2 - 2 z.v + |v|^2``.

    Args:
        z: points, [B, s], of length 1.
        vertices: v, [C, k + 1, s].

    Returns:
        Products in float32 at least; autocast decides what the matrix products take in.
    """
    kind = z.device.type
    if torch.is_autocast_enabled(kind):
        narrow = torch.get_autocast_dtype(kind)
        z, vertices = z.to(narrow), vertices.to(narrow)
    return Products(*_FreeProducts.apply(z, vertices, torch.is_grad_enabled()))


def distance(squared: Tensor) -> Tensor:
    """Distances of squared ones, any shape: ``sqrt(max(squared, 0) + 1e-8)``."""
    return (squared.clamp_min(0) + ROOT_FLOOR).sqrt()


def corners_at_once(rows: int, classes: int, corners: int, device: torch.device) -> bool:
    """Whether the products of all corners are made together, rather than one corner at a time.

    Args:
        rows: B.
        classes: C.
        corners: k + 1.
        device: where they are made.

    Returns:
        True for few products, under a compiler, and on an accelerator while they fit.
    """
    if torch.compiler.is_compiling():
        return True
    return rows * classes * corners <= (_FEW if device.type == "cpu" else _MANY)


class _RigidSquares(torch.autograd.Function):
    """``1 + |mu|^2 - 2 z.mu + r^2 - 2 r max_j (along_z - along_mu)_j``; saves the best j only."""

    @staticmethod
    def forward(
        ctx: Any,
        products: Tensor,
        squared_norms: Tensor,
        radii: Tensor,
        along_z: Tensor,
        along_centroids: Tensor,
        noted: bool,
    ) -> Tensor:
        index: Tensor | None = None
        rows, corners = along_z.shape
        if corners_at_once(rows, along_centroids.shape[0], corners, along_z.device):
            all_reaches = along_z.T.unsqueeze(2) - along_centroids.T.unsqueeze(1)
            if noted:
                reach, index = all_reaches.max(0)
                index = index.to(_number_type(corners))
            else:
                reach = all_reaches.amax(0)
        else:
            reach, index = _furthest(along_z, along_centroids.T.contiguous(), noted)
        ctx.save_for_backward(radii, along_z, along_centroids, index)
        squared = reach.mul_(radii).add_(products).mul_(-2)
        return squared.add_(1 + squared_norms + radii.square())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        radii, along_z, along_centroids, index = ctx.saved_tensors
        best = index.long()
        reach = along_z.gather(1, best) - along_centroids.T.gather(0, best)
        by_class = grad.sum(0)
        to_radii = 2 * (radii * by_class - (grad * reach).sum(0))
        to_reach = grad * (-2 * radii)
        to_z = torch.zeros_like(along_z).scatter_add_(1, best, to_reach)
        to_centroids = torch.zeros_like(along_centroids.T).scatter_add_(0, best, to_reach)
        return -2 * grad, by_class, to_radii, to_z, to_centroids.T.neg(), None


class _FreeProducts(torch.autograd.Function):
    """Centroid product, nearest squared distance and centroid length; saves the best j only."""

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, vertices: Tensor, noted: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        index: Tensor | None = None
        wide = _wide(z)
        classes, corners, _ = vertices.shape
        if corners_at_once(z.shape[0], classes, corners, z.device):
            all_products = (z @ vertices.flatten(0, 1).T).to(wide).unflatten(1, (classes, corners))
            products = all_products.mean(-1)
            all_squares = _squared_length(vertices, wide) - 2 * all_products
            if noted:
                squared, index = all_squares.min(-1)
                index = index.to(_number_type(corners))
            else:
                squared = all_squares.amin(-1)
        else:
            products, squared, index = _closest(z, vertices, wide, noted)
        centroids = vertices.mean(1, dtype=wide)
        norm = torch.linalg.vector_norm(centroids, dim=-1)
        ctx.save_for_backward(z, vertices, norm, index)
        return products, squared.add_(1), norm

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_products: Tensor, to_squared: Tensor, to_norm: Tensor
    ) -> tuple[Tensor, Tensor, None]:
        z, vertices, norm, index = ctx.saved_tensors
        corners = vertices.shape[1]
        pull = vertices.mean(1, dtype=_wide(z))
        pull *= (to_norm / (corners * norm.clamp_min(1e-12))).unsqueeze(1)
        # The weight of v_j is to_products / corners - 2 to_squared where j is nearest; all is
        # taken times the number of corners, and the products divide it out.
        part, factor = 1 / corners, -2 * corners
        if corners_at_once(z.shape[0], vertices.shape[0], corners, z.device):
            numbers = torch.arange(corners, dtype=index.dtype, device=z.device)
            nearest = (index.unsqueeze(2) == numbers) * to_squared.unsqueeze(2)
            lengths = 2 * nearest.sum(0).unsqueeze(2)
            weights = (to_products.unsqueeze(2) + factor * nearest).flatten(1).mul(part).to(z.dtype)
            to_z = weights @ vertices.flatten(0, 1)
            to_vertices = (weights.T @ z).view_as(vertices)
            to_vertices += (lengths * vertices + pull.unsqueeze(1)).to(z.dtype)
            return to_z, to_vertices, None
        to_z = torch.zeros_like(z)
        to_vertices = torch.empty_like(vertices)
        for corner in range(corners):
            weights = torch.where(index == corner, to_squared, 0.0)
            lengths = weights.sum(0).mul_(2).unsqueeze(1)
            weights = torch.add(to_products, weights, alpha=factor, out=weights).to(z.dtype)
            own, target = vertices[:, corner], to_vertices[:, corner]
            torch.addcmul(pull, own, lengths, out=target)
            target.addmm_(weights.T, z, alpha=part)
            to_z.addmm_(weights, own, alpha=part)
        return to_z, to_vertices, None


def _furthest(
    along_z: Tensor, along_centroids: Tensor, noted: bool
) -> tuple[Tensor, Tensor | None]:
    """Largest ``along_z[b, j] - along_centroids[j, c]`` over j, and, if noted, its j: [B, C]."""
    best = along_z[:, :1] - along_centroids[0]
    index = _first_corner(best, along_z.shape[1]) if noted else None
    for corner in range(1, along_z.shape[1]):
        value = along_z[:, corner : corner + 1] - along_centroids[corner]
        if index is not None:
            _note(index, value > best, corner)
        torch.maximum(best, value, out=best)
    return best, index


def _closest(
    z: Tensor, vertices: Tensor, wide: torch.dtype, noted: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean of ``z.v_j`` over j, least ``|v_j|^2 - 2 z.v_j`` and, if noted, its j: [B, C]."""
    corners = vertices.shape[1]
    mean = (z @ vertices[:, 0].T).to(wide)
    best = torch.add(_squared_length(vertices[:, 0], wide), mean, alpha=-2)
    index = _first_corner(best, corners) if noted else None
    for corner in range(1, corners):
        own = vertices[:, corner]
        value = (z @ own.T).to(wide)
        mean.add_(value)
        value.mul_(-2).add_(_squared_length(own, wide))
        if index is not None:
            _note(index, value < best, corner)
        torch.minimum(best, value, out=best)
    return mean.div_(corners), best, index


def _first_corner(like: Tensor, corners: int) -> Tensor:
    return torch.zeros_like(like, dtype=_number_type(corners))


def _note(index: Tensor, where: Tensor, corner: int) -> None:
    """Write a corner's number where it is nearer; numbers rise, so that the largest is the last."""
    flags = where.view(torch.uint8) if index.dtype == torch.uint8 else where.to(index.dtype)
    torch.maximum(index, flags.mul_(corner), out=index)


def _number_type(corners: int) -> torch.dtype:
    return torch.uint8 if corners <= 2**8 else torch.int16


def _squared_length(vertices: Tensor, wide: torch.dtype) -> Tensor:
    return torch.linalg.vector_norm(vertices, dim=-1, dtype=wide).square()


def _wide(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)
