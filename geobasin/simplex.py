"""Regular simplices, their volume and shape, and the scores of a point against class simplices."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from geobasin.errors import GeoBasinError
from geobasin.nearest import Products, distance, free_products, rigid_products


class SimplexScores(NamedTuple):
    """What the points z say about the classes.

    Attributes:
        cosine: cosine of z with each class's centroid, [B, C] in [-1, 1].
        distance: distance of z to each class's nearest vertex, [B, C], at least 0.
    """

    cosine: Tensor
    distance: Tensor


def regular_simplex(k: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Vertices of the regular k-simplex with unit vertices and its centroid at the origin.

    Every two vertices have the inner product -1/k, so all edges measure sqrt(2 + 2/k). The
    coordinates are those of the centred standard basis of R^(k+1) in Helmert's orthonormal basis.

    Args:
        k: dimension, at least 1.
        dtype: of the result; computed in float64.

    Returns:
        Vertices, [k + 1, k].

    Raises:
        GeoBasinError: k below 1.
    """
    if k < 1:
        raise GeoBasinError(f"a simplex needs k of at least 1, not {k}")
    row = torch.arange(1, k + 1, dtype=torch.float64)
    helmert = torch.tril(torch.ones(k, k + 1, dtype=torch.float64))
    helmert[torch.arange(k), torch.arange(1, k + 1)] = -row
    helmert /= torch.sqrt(row * (row + 1)).unsqueeze(1)
    return (helmert.T * math.sqrt((k + 1) / k)).to(dtype).contiguous()


def orthonormal_frame(dim: int, k: int, generator: torch.Generator | None = None) -> Tensor:
    """k orthonormal directions in R^dim, drawn uniformly.

    Args:
        dim: dimension s of the space.
        k: number of directions, 1 to s.
        generator: source of randomness on the CPU; the global one where not given.

    Returns:
        Frame U, [s, k], with U^T U = 1.

    Raises:
        GeoBasinError: k is larger than dim.
    """
    if k > dim:
        raise GeoBasinError(f"a {k}-simplex does not fit into scale {dim}; choose k <= {dim}")
    # Fixing the signs of R's diagonal makes the distribution uniform (Mezzadri 2007).
    q, r = torch.linalg.qr(torch.randn(dim, k, dtype=torch.float64, generator=generator))
    return (q * torch.sign(torch.diagonal(r))).to(torch.float32).contiguous()


def unit_directions(count: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Unit vectors drawn uniformly from the sphere in R^dim: [count, dim]."""
    return F.normalize(torch.randn(count, dim, generator=generator), dim=-1)


def edge_lengths(vertices: Tensor) -> Tensor:
    """Lengths of all edges of simplices.

    Args:
        vertices: [..., k + 1, s].

    Returns:
        Lengths, [..., k (k + 1) / 2].
    """
    first, second = torch.triu_indices(vertices.shape[-2], vertices.shape[-2], offset=1)
    return torch.linalg.vector_norm(vertices[..., first, :] - vertices[..., second, :], dim=-1)


def edge_spread(vertices: Tensor) -> Tensor:
    """How irregular simplices are: standard deviation of the edge lengths over their mean.

    Args:
        vertices: [..., k + 1, s].

    Returns:
        Spread, [...], 0 for a regular simplex.
    """
    lengths = edge_lengths(vertices)
    return lengths.std(dim=-1, correction=0) / lengths.mean(dim=-1)


def cayley_menger_volume(vertices: Tensor) -> Tensor:
    """Volume of simplices from their edge lengths alone.

    ``V^2 = (-1)^(k+1) det(M) / (2^k (k!)^2)`` with M the squared distances, bordered by ones
    (Cayley 1841, Menger 1928). A regular simplex with edge a has ``a^k sqrt((k+1)/2^k) / k!``.

    Args:
        vertices: [..., k + 1, s]; computed in float64.

    Returns:
        k-dimensional volume, [...] float64; 0 where the vertices are dependent.
    """
    points = vertices.to(torch.float64)
    k = points.shape[-2] - 1
    squared = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    bordered = F.pad(squared, (1, 0, 1, 0), value=1.0)
    bordered[..., 0, 0] = 0.0
    sign, log_determinant = torch.linalg.slogdet(bordered)
    log_volume = (log_determinant - k * math.log(2)) / 2 - math.lgamma(k + 1)
    return torch.where(sign == (-1) ** (k + 1), torch.exp(log_volume), 0.0)


def regular_volume(k: int, edge: float) -> float:
    """Volume of the regular k-simplex with the given edge, in closed form."""
    return edge**k * math.sqrt((k + 1) / 2**k) / math.factorial(k)


def rigid_vertices(centroids: Tensor, radii: Tensor, frame: Tensor) -> Tensor:
    """Vertices ``mu_c + r_c U x_j`` of rigid class simplices.

    Args:
        centroids: mu, [C, s].
        radii: r, [C], above 0.
        frame: U, [s, k], orthonormal columns.

    Returns:
        Vertices, [C, k + 1, s].
    """
    corners = regular_simplex(frame.shape[1], frame.dtype).to(frame.device) @ frame.T
    return torch.addcmul(centroids.unsqueeze(1), radii.view(-1, 1, 1), corners)


def score_free(z: Tensor, vertices: Tensor) -> SimplexScores:
    """Scores against simplices whose vertices are all free.

    Args:
        z: points, [B, s], of length 1.
        vertices: v, [C, k + 1, s].

    Returns:
        Cosines and nearest distances, [B, C] each.
    """
    return _scores(free_products(z, vertices))


def score_rigid(
    z: Tensor, centroids: Tensor, radii: Tensor, frame: Tensor, corners: Tensor
) -> SimplexScores:
    """Scores against rigid simplices, without ever making their vertices.

    Args:
        z: points, [B, s], of length 1.
        centroids: mu, [C, s].
        radii: r, [C], above 0.
        frame: U, [s, k], orthonormal columns.
        corners: x, the regular simplex, [k + 1, k].

    Returns:
        Cosines and nearest distances, [B, C] each.
    """
    return _scores(rigid_products(z, centroids, radii, frame, corners))


def _scores(products: Products) -> SimplexScores:
    cosine = products.centroid / products.norm.clamp_min(1e-12)
    return SimplexScores(cosine, distance(products.squared))
