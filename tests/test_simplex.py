"""Regular simplices against closed forms; scores against distances computed one by one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geobasin.errors import GeoBasinError
from geobasin.simplex import (
    cayley_menger_volume,
    edge_lengths,
    edge_spread,
    orthonormal_frame,
    regular_simplex,
    regular_volume,
    rigid_vertices,
    score_free,
    score_rigid,
)

dimensions = st.integers(1, 20)


@given(dimensions)
def test_regular_simplex_is_regular(k: int) -> None:
    vertices = regular_simplex(k, torch.float64)
    assert vertices.shape == (k + 1, k)
    torch.testing.assert_close(vertices.norm(dim=1), torch.ones(k + 1, dtype=torch.float64))
    torch.testing.assert_close(
        vertices.mean(0), torch.zeros(k, dtype=torch.float64), atol=1e-12, rtol=0
    )
    edge = math.sqrt(2 + 2 / k)
    torch.testing.assert_close(
        edge_lengths(vertices), torch.full((k * (k + 1) // 2,), edge).double()
    )


@given(dimensions, st.floats(0.1, 3))
def test_volume_of_a_regular_simplex_has_its_closed_form(k: int, radius: float) -> None:
    vertices = radius * regular_simplex(k, torch.float64)
    edge = radius * math.sqrt(2 + 2 / k)
    assert cayley_menger_volume(vertices).item() == pytest.approx(regular_volume(k, edge), rel=1e-6)


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_volume_equals_the_determinant_of_the_edges(k: int, seed: int) -> None:
    vertices = torch.randn(k + 1, k, dtype=torch.float64, generator=torch.manual_seed(seed))
    edges = vertices[1:] - vertices[0]
    expected = torch.linalg.det(edges).abs().item() / math.factorial(k)
    assert cayley_menger_volume(vertices).item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_volume_of_a_flat_simplex_is_zero() -> None:
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert cayley_menger_volume(line).item() == pytest.approx(0, abs=1e-9)


def test_edge_spread_tells_regular_from_stretched() -> None:
    regular = regular_simplex(3, torch.float64)
    assert edge_spread(regular).item() == pytest.approx(0, abs=1e-12)
    assert edge_spread(regular * torch.tensor([1.0, 1.0, 2.0])).item() > 0.1


@given(st.integers(1, 12), st.integers(0, 20))
def test_frame_is_orthonormal(k: int, spare: int) -> None:
    frame = orthonormal_frame(k + spare, k, torch.Generator().manual_seed(0))
    torch.testing.assert_close(frame.T @ frame, torch.eye(k), atol=1e-6, rtol=0)


def test_a_simplex_larger_than_its_space_is_refused() -> None:
    with pytest.raises(GeoBasinError, match="does not fit"):
        orthonormal_frame(3, 4)
    with pytest.raises(GeoBasinError, match="at least 1"):
        regular_simplex(0)


@given(st.integers(1, 8), st.integers(2, 6), st.integers(0, 2**31))
def test_scores_equal_distances_one_by_one(k: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scale = k + 3
    frame = orthonormal_frame(scale, k, generator)
    centroids = torch.randn(classes, scale, generator=generator)
    radii = torch.rand(classes, generator=generator) + 0.1
    z = torch.nn.functional.normalize(torch.randn(7, scale, generator=generator), dim=-1)
    vertices = rigid_vertices(centroids, radii, frame)
    rigid = score_rigid(z, centroids, radii, frame, regular_simplex(k))
    free = score_free(z, vertices)
    for row in range(len(z)):
        for label in range(classes):
            nearest = min((z[row] - vertex).norm().item() for vertex in vertices[label])
            cosine = torch.cosine_similarity(z[row], centroids[label], dim=0).item()
            for scores in (rigid, free):
                assert scores.distance[row, label].item() == pytest.approx(nearest, abs=2e-4)
                assert scores.cosine[row, label].item() == pytest.approx(cosine, abs=1e-5)
