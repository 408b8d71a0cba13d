"""Nearest corners and what is built on them, against the formula that makes every distance."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geobasin import nearest
from geobasin.compatibility import compatibility
from geobasin.contraction import contract
from geobasin.cross_entropy import cross_entropy
from geobasin.nearest import Products, corners_at_once, free_products, rigid_products
from geobasin.simplex import orthonormal_frame, regular_simplex, rigid_vertices

ROWS, CLASSES, SCALE, K, WIDE = 7, 6, 8, 4, 9
CORNERS = regular_simplex(K, torch.float64)


def frame_of(scale: int, k: int) -> Tensor:
    """An orthonormal frame in double precision."""
    drawn_frame = orthonormal_frame(scale, k, torch.Generator().manual_seed(3))
    return torch.linalg.qr(drawn_frame.double()).Q


FRAME = frame_of(SCALE, K)


@pytest.fixture(params=["corner by corner", "all at once"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to go through the corners, at any size."""
    monkeypatch.setattr(nearest, "_FEW", 0 if request.param == "corner by corner" else 2**40)
    return request.param


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def points() -> Tensor:
    return F.normalize(drawn(ROWS, SCALE), dim=-1)


def rigid(z: Tensor, centroids: Tensor, radii: Tensor) -> Products:
    return rigid_products(z, centroids, radii, FRAME.to(z.dtype), CORNERS.to(z.dtype))


def slow(z: Tensor, vertices: Tensor) -> Products:
    """Every vertex made, every distance taken."""
    centroids = vertices.mean(1)
    squared = (z[:, None, None] - vertices).square().sum(-1)
    return Products(z @ centroids.T, squared.amin(-1), centroids.norm(dim=-1))


def slow_rigid(z: Tensor, centroids: Tensor, radii: Tensor) -> Products:
    return slow(z, rigid_vertices(centroids, radii, FRAME.to(z.dtype)))


CASES: dict[str, tuple[Callable[..., Products], Callable[..., Products], tuple[Tensor, ...]]] = {
    "rigid": (rigid, slow_rigid, (drawn(CLASSES, SCALE, seed=1), drawn(CLASSES, seed=2).exp())),
    "free": (free_products, slow, (drawn(CLASSES, K + 1, SCALE, seed=1),)),
}


def leaves(*tensors: Tensor) -> list[Tensor]:
    return [tensor.clone().requires_grad_() for tensor in tensors]


def total(products: Products) -> Tensor:
    """A number in which every product has a weight of its own."""
    return sum(
        (part * drawn(*part.shape, seed=9 + number).to(part.dtype)).sum()
        for number, part in enumerate(products)
    )


@pytest.mark.parametrize("kind", CASES)
def test_products_and_their_gradients_are_those_of_the_formula(kind: str, way: str) -> None:
    quick, reference, given = CASES[kind]
    ours, theirs = leaves(points(), *given), leaves(points(), *given)
    found, expected = quick(*ours), reference(*theirs)
    for part, name in zip(found, Products._fields, strict=True):
        torch.testing.assert_close(part, getattr(expected, name), atol=1e-10, rtol=0)
    # On the unit sphere |z| is 1 and the formula's gradient along z has no counterpart.
    total(found).backward()
    total(expected).backward()
    along = (theirs[0].grad - ours[0].grad) * points()
    difference = theirs[0].grad - ours[0].grad - along.sum(1, keepdim=True) * points()
    torch.testing.assert_close(difference, torch.zeros_like(difference), atol=1e-10, rtol=0)
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", CASES)
def test_gradients_are_those_of_finite_differences(kind: str, way: str) -> None:
    quick, _, given = CASES[kind]
    assert torch.autograd.gradcheck(lambda *inputs: tuple(quick(*inputs)), leaves(points(), *given))


@pytest.mark.parametrize("kind", CASES)
def test_both_ways_agree_in_single_precision(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, _, given = CASES[kind]
    results = []
    for few in (0, 2**40):
        monkeypatch.setattr(nearest, "_FEW", few)
        inputs = leaves(*(tensor.float() for tensor in (points(), *given)))
        found = quick(*inputs)
        total(found).backward()
        results.append([*found, *(tensor.grad for tensor in inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_without_gradients_the_products_are_the_same(kind: str, way: str) -> None:
    quick, _, given = CASES[kind]
    with torch.no_grad():
        found = quick(points(), *given)
    expected = quick(*leaves(points(), *given))
    for part, reference in zip(found, expected, strict=True):
        assert not part.requires_grad
        torch.testing.assert_close(part, reference.detach())


@pytest.mark.parametrize("kind", CASES)
def test_more_corners_than_a_byte_can_number(kind: str, way: str) -> None:
    k = 300
    frame = frame_of(k, k)
    radii, centroids = torch.ones(2, dtype=torch.float64), 0.01 * drawn(2, k, seed=1)
    vertices = rigid_vertices(centroids, radii, frame)
    # Points beside the vertices of the first class: each has its own, the last included.
    z = F.normalize(vertices[0] + 0.01 * drawn(k + 1, k, seed=2), dim=-1)
    if kind == "rigid":
        ours = leaves(z, centroids)
        found = rigid_products(*ours, radii, frame, regular_simplex(k, torch.float64))
    else:
        ours = leaves(z, vertices)
        found = free_products(*ours)
    expected = slow(z, vertices)
    torch.testing.assert_close(found.squared, expected.squared, atol=1e-10, rtol=0)
    found.squared[:, 0].sum().backward()
    best = (z[:, None, None] - vertices).square().sum(-1).argmin(-1)
    assert best[:, 0].unique().numel() == k + 1
    torch.testing.assert_close(ours[0].grad, -2 * vertices[0, best[:, 0]], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", CASES)
def test_no_array_of_all_corners_is_kept_for_the_gradient(kind: str, way: str) -> None:
    quick, _, given = CASES[kind]
    rows = 200
    z = F.normalize(drawn(rows, SCALE), dim=-1)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda _: _):
        quick(*leaves(z, *given))
    assert kept
    assert max(tensor.numel() for tensor in kept) <= rows * max(CLASSES, SCALE)
    of_pairs = [tensor for tensor in kept if tensor.shape == (rows, CLASSES)]
    assert sum(tensor.element_size() for tensor in of_pairs) == 1


@pytest.mark.parametrize("kind", CASES)
def test_autocast_takes_products_in_bfloat16_and_the_rest_in_float32(kind: str, way: str) -> None:
    quick, _, given = CASES[kind]
    single = [tensor.float() for tensor in (points(), *given)]
    exact, narrow = leaves(*single), leaves(*single)
    expected = quick(*exact)
    with torch.autocast("cpu", torch.bfloat16):
        found = quick(*narrow)
    for part, reference in zip(found, expected, strict=True):
        assert part.dtype == torch.float32
        scale = reference.abs().max().item()
        torch.testing.assert_close(part, reference, atol=0.02 * scale, rtol=0)
    assert not torch.equal(found.centroid, expected.centroid)
    total(expected).backward()
    total(found).backward()
    for one, reference in zip(narrow, exact, strict=True):
        assert one.grad.dtype == torch.float32
        similarity = torch.cosine_similarity(one.grad.flatten(), reference.grad.flatten(), dim=0)
        assert similarity > 0.99


def test_corners_are_taken_at_once_where_they_are_few_or_fit() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert corners_at_once(1, 1000, 13, cpu)
    assert not corners_at_once(256, 1000, 13, cpu)
    assert corners_at_once(1024, 1000, 13, gpu)
    assert not corners_at_once(65536, 1000, 13, gpu)


def test_compatibility_is_the_weighted_sum_and_so_is_its_gradient() -> None:
    def by_formula(*inputs: Tensor) -> Tensor:
        products, squared, norm, kappa, places, weights = inputs
        parts = [products / norm, -((kappa[:, None] - places) ** 2), -(squared + 1e-8).sqrt()]
        return (weights.view(3, 1, 1) * torch.stack(parts)).sum(0)

    def quick(*inputs: Tensor) -> Tensor:
        return compatibility(Products(*inputs[:3]), *inputs[3:])

    given = (
        drawn(ROWS, CLASSES),
        drawn(ROWS, CLASSES, seed=1).exp(),
        drawn(CLASSES, seed=2).exp(),
        drawn(ROWS, seed=3),
        drawn(CLASSES, seed=4),
        torch.softmax(drawn(3, seed=5), 0),
    )
    torch.testing.assert_close(quick(*given), by_formula(*given))
    assert torch.autograd.gradcheck(quick, leaves(*given))


def test_a_point_on_a_vertex_has_a_gradient_of_zero() -> None:
    squared = torch.tensor([[-1e-9, 0.5]], requires_grad=True)
    norm, kappa, places = torch.ones(2), torch.zeros(1), torch.zeros(2)
    products = Products(torch.zeros(1, 2), squared, norm)
    compatibility(products, kappa, places, torch.tensor([0.0, 0.0, 1.0])).sum().backward()
    assert squared.grad[0, 0] == 0
    assert squared.grad[0, 1].item() == pytest.approx(-0.5 / 0.5**0.5)


def layers() -> tuple[nn.LayerNorm, nn.Linear]:
    torch.manual_seed(0)
    norm, linear = nn.LayerNorm(WIDE).double(), nn.Linear(WIDE, SCALE).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    return norm, linear


def test_contraction_is_the_layers_one_after_the_other() -> None:
    norm, linear = layers()
    parameters = [*norm.parameters(), *linear.parameters()]
    (one,), (other,) = leaves(drawn(ROWS, WIDE)), leaves(drawn(ROWS, WIDE))
    found = contract(one, norm, linear)
    expected = F.normalize(linear(norm(F.gelu(other))), dim=-1)
    torch.testing.assert_close(found, expected)
    weights = drawn(ROWS, SCALE, seed=4)
    ours = torch.autograd.grad((found * weights).sum(), [one, *parameters])
    theirs = torch.autograd.grad((expected * weights).sum(), [other, *parameters])
    for gradient, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, reference)


def test_contraction_keeps_its_input_and_its_result() -> None:
    norm, linear = layers()
    rows = 50
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda _: _):
        contract(*leaves(drawn(rows, WIDE)), norm, linear)
    by_row = [tensor.shape[1] for tensor in kept if len(tensor) == rows]
    assert sorted(by_row) == [1, SCALE, WIDE]


def test_contraction_of_nothing_stays_at_the_origin() -> None:
    norm, linear = layers()
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    point = contract(*leaves(drawn(ROWS, WIDE)), norm, linear)
    point.sum().backward()
    assert torch.equal(point, torch.zeros_like(point))
    assert torch.isfinite(linear.weight.grad).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("leading", [(), (3,)])
def test_cross_entropy_is_torchs(smoothing: float, leading: tuple[int, ...]) -> None:
    labels = torch.arange(ROWS) % CLASSES
    (one,), (other,) = (
        leaves(drawn(*leading, ROWS, CLASSES)),
        leaves(drawn(*leading, ROWS, CLASSES)),
    )
    found = cross_entropy(one, labels, 0.1, smoothing)
    expected = F.cross_entropy(
        other.flatten(0, -2) / 0.1,
        labels.repeat(*leading, 1).flatten(),
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(found, expected)
    (3 * found).backward()
    (3 * expected).backward()
    torch.testing.assert_close(one.grad, other.grad)
