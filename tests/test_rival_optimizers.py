"""HGM and AdaTAM are held to their formulas in NumPy, and to torch's AdamW at their limits."""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geobasin.errors import GeoBasinError
from geobasin.orbital import OrbitalCoupler
from geobasin.rival_optimizers import HGM, AdaTAM

RIVALS = [HGM, AdaTAM]
SHAPES = [(7, 5), (3,), (), (2, 3, 4)]

Make = Callable[..., torch.optim.Optimizer]


def parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        (0.1 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
        for shape in SHAPES
    ]


def gradients(step: int, missing: bool = False, scale: float = 1.0) -> list[Tensor | None]:
    """The same for whoever asks for a step; a steady part and noise."""
    generator, steady = (torch.Generator().manual_seed(seed) for seed in (step, 99))
    given: list[Tensor | None] = []
    for number, shape in enumerate(SHAPES):
        g = 0.1 * torch.randn(shape, generator=generator)
        g = scale * (g + 0.05 * torch.randn(shape, generator=steady))
        given.append(None if missing and (step + number) % 3 == 0 else g)
    return given


def drive(optimizer: Any, params: list[Tensor], first: int, last: int, **how: Any) -> None:
    for step in range(first, last + 1):
        for p, g in zip(params, gradients(step, **how), strict=True):
            p.grad = None if g is None else g.to(p.dtype)
        optimizer.step()


def worst(ours: list[Tensor], theirs: list[Any]) -> float:
    return max(
        np.abs(a.detach().double().numpy() - np.asarray(b, dtype=np.float64)).max()
        for a, b in zip(ours, theirs, strict=True)
    )


def by_the_formula(
    kind: Any,
    steps: int,
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    smoothing: float,
    strength: float = 1.0,
    maximize: bool = False,
    missing: bool = False,
    eps: float = 1e-8,
) -> list[Any]:
    """The rules in NumPy and float64, one tensor after the other, from the gradients' history."""
    ends = []
    for number, start in enumerate(parameters()):
        theta = start.detach().double().numpy().copy()
        m, v, s, t = np.zeros_like(theta), np.zeros_like(theta), 0.0, 0
        for step in range(1, steps + 1):
            given = gradients(step, missing=missing)[number]
            if given is None:
                continue
            g = given.double().numpy() * (-1 if maximize else 1)
            t += 1
            length = math.sqrt((g**2).sum()) * math.sqrt((m**2).sum())
            c = float((g * m).sum()) / length if length > 0 else 0.0
            s = smoothing * s + (1 - smoothing) * c
            enters = g if kind is HGM else (eps + (1 + s) / 2) * g
            rate = lr * math.exp(strength * s) if kind is HGM else lr
            m = betas[0] * m + (1 - betas[0]) * enters
            v = betas[1] * v + (1 - betas[1]) * g**2
            mhat, vhat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta * (1 - lr * weight_decay) - rate * mhat / (np.sqrt(vhat) + eps)
        ends.append(theta)
    return ends


OPTIONS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-4, 1e-2),
        "betas": st.tuples(st.floats(0, 0.98), st.floats(0.5, 0.9999)),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "smoothing": st.floats(0, 1),
        "maximize": st.booleans(),
    }
)


@settings(max_examples=12, deadline=None)
@given(options=OPTIONS, strength=st.floats(-1, 2), missing=st.booleans())
def test_hgm_is_its_formula(options: dict[str, Any], strength: float, missing: bool) -> None:
    ours = parameters()
    drive(HGM(ours, **options, strength=strength), ours, 1, 8, missing=missing)
    expected = by_the_formula(HGM, 8, **options, strength=strength, missing=missing)
    assert worst(ours, expected) <= 1e-6


@settings(max_examples=12, deadline=None)
@given(options=OPTIONS, missing=st.booleans())
def test_adatam_is_its_formula(options: dict[str, Any], missing: bool) -> None:
    ours = parameters()
    drive(AdaTAM(ours, **options), ours, 1, 8, missing=missing)
    assert worst(ours, by_the_formula(AdaTAM, 8, **options, missing=missing)) <= 1e-6


@settings(max_examples=8, deadline=None)
@given(lr=st.floats(1e-4, 1e-2), beta1=st.floats(0, 0.95), missing=st.booleans())
def test_without_strength_hgm_is_torchs_adamw(lr: float, beta1: float, missing: bool) -> None:
    ours, theirs = parameters(), parameters()
    options: dict[str, Any] = {"lr": lr, "betas": (beta1, 0.99), "weight_decay": 0.1}
    drive(HGM(ours, strength=0.0, **options), ours, 1, 10, missing=missing)
    drive(torch.optim.AdamW(theirs, **options), theirs, 1, 10, missing=missing)
    assert worst(ours, [p.detach() for p in theirs]) <= 1e-6


def test_adatam_that_never_listens_is_adamw_at_half_the_rate() -> None:
    ours, theirs = parameters(), parameters()
    drive(AdaTAM(ours, lr=2e-2, weight_decay=0.1, smoothing=1.0), ours, 1, 10)
    drive(torch.optim.AdamW(theirs, lr=1e-2, weight_decay=0.2), theirs, 1, 10)
    assert worst(ours, [p.detach() for p in theirs]) <= 1e-6


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_steady_and_a_turned_gradient_have_cosines_of_one(turn: float) -> None:
    hgm, tam = (torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    g = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rivals = [
        HGM([hgm], lr=0.1, eps=1e-20, weight_decay=0.0, smoothing=0.0, betas=(0.0, 0.999)),
        AdaTAM([tam], lr=0.1, eps=1e-20, weight_decay=0.0, smoothing=0.0, betas=(0.0, 0.999)),
    ]
    first = []
    for sign in (1.0, turn):
        first = [p.detach().clone() for p in (hgm, tam)]
        for p, optimizer in zip((hgm, tam), rivals, strict=True):
            p.grad = sign * g
            optimizer.step()
    # Without momentum's memory, the step is the sign of g times the rate.
    down = -turn * g.sign()
    torch.testing.assert_close(hgm.detach() - first[0], 0.1 * math.exp(turn) * down)
    torch.testing.assert_close(tam.detach() - first[1], 0.1 * (1 + turn) / 2 * down)


@pytest.mark.parametrize("kind", RIVALS)
def test_the_cosine_does_not_depend_on_the_gradients_size(kind: Make) -> None:
    big, small = parameters(), parameters()
    a, b = kind(big, lr=1e-2, eps=1e-30), kind(small, lr=1e-2, eps=1e-30)
    drive(a, big, 1, 6)
    drive(b, small, 1, 6, scale=2.0**-30)
    for p, q in zip(big, small, strict=True):
        assert torch.equal(a.state[p]["alignment"], b.state[q]["alignment"])
        assert a.state[p]["alignment"] != 0


@pytest.mark.parametrize("kind", RIVALS)
def test_it_finds_the_bottom_of_rosenbrocks_valley(kind: Make) -> None:
    p = torch.tensor([-1.5, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = kind([p], lr=2e-2, weight_decay=0.0, betas=(0.9, 0.99))
    for _ in range(1200):
        optimizer.zero_grad()
        x, y = p
        ((1 - x) ** 2 + 100 * (y - x**2) ** 2).backward()
        optimizer.step()
    assert p.tolist() == pytest.approx([1.0, 1.0], abs=0.05)


@pytest.mark.parametrize("kind", RIVALS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_resumed_run_is_the_unbroken_one(kind: Make, dtype: torch.dtype) -> None:
    whole, first = parameters(dtype), parameters(dtype)
    drive(kind(whole, lr=1e-2), whole, 1, 16, missing=True)
    optimizer = kind(first, lr=1e-2)
    drive(optimizer, first, 1, 7, missing=True)
    saved = copy.deepcopy(optimizer.state_dict())
    second = [p.detach().clone().requires_grad_() for p in first]
    resumed = kind(second)
    resumed.load_state_dict(saved)
    back = resumed.state_dict()
    assert back["param_groups"] == saved["param_groups"]
    for index, entry in saved["state"].items():
        for name, value in entry.items():
            assert back["state"][index][name].dtype == value.dtype
            assert torch.equal(back["state"][index][name], value)
    drive(resumed, second, 8, 16, missing=True)
    for a, b in zip(whole, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_missing_gradient_leaves_parameter_and_state_alone(kind: Make) -> None:
    here, gone = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = kind([here, gone], lr=0.1)
    here.grad, gone.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    kept, state = gone.detach().clone(), copy.deepcopy(optimizer.state[gone])
    gone.grad = None
    optimizer.step()
    assert torch.equal(gone, kept)
    assert all(torch.equal(optimizer.state[gone][name], value) for name, value in state.items())
    assert not torch.equal(here, kept)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_sparse_gradient_is_refused_before_anything_moves(kind: Make) -> None:
    plain, table = torch.ones(2, requires_grad=True), nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 3])).sum().backward()
    plain.grad = torch.ones(2)
    with pytest.raises(GeoBasinError, match=r"sparse gradients.*\(5, 2\)"):
        kind([plain, table.weight]).step()
    assert plain.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("kind", RIVALS)
def test_a_complex_parameter_is_refused(kind: Make) -> None:
    p = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.ones_like(p)
    with pytest.raises(GeoBasinError, match="complex"):
        kind([p]).step()


@pytest.mark.parametrize("kind", RIVALS)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1.0),
        ("lr", math.nan),
        ("betas", (1.0, 0.999)),
        ("eps", 0.0),
        ("weight_decay", -0.1),
        ("smoothing", 1.5),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(kind: Make, option: str, value: Any) -> None:
    with pytest.raises(GeoBasinError, match=option):
        kind([torch.zeros(1, requires_grad=True)], **{option: value})


@pytest.mark.parametrize("kind", RIVALS)
def test_a_closure_runs_once_with_gradients_and_its_loss_comes_back(kind: Make) -> None:
    p = torch.tensor(2.0, requires_grad=True)
    optimizer = kind([p], lr=0.1)
    calls = []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = p**2
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert calls == [True]
    assert p.item() < 2.0


@pytest.mark.parametrize("kind", RIVALS)
def test_a_step_reads_nothing_back_from_the_device(kind: Make) -> None:
    # A tensor on "meta" has no values: any attempt to read one raises.
    params = [torch.empty(shape, device="meta", requires_grad=True) for shape in SHAPES]
    optimizer = kind(params)
    for _ in range(3):
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.step()
    assert optimizer.state[params[0]]["step"].item() == 3


def test_the_coupler_observes_them_as_it_does_adam() -> None:
    params = parameters()
    optimizer = HGM(params, lr=1e-2, strength=0.0)
    coupler = OrbitalCoupler(optimizer)
    drive(optimizer, params, 1, 3)
    for p, g in zip(params, gradients(4), strict=True):
        p.grad = g
    reading = coupler.step()
    assert reading.e_ret == pytest.approx(1.0, abs=1e-3)
    assert reading.coh is not None
