"""DCLR is held to its slow form, to torch's AdamW, and to cases with a closed form."""

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

from geobasin.dclr import DCLR, OrbitalCoupler
from geobasin.dclr_reference import ReferenceDCLR
from geobasin.errors import GeoBasinError

SHAPES = [(7, 5), (3,), (), (2, 3, 4), (0,), (30, 20)]

Grads = Callable[[int], list[Tensor | None]]


def parameters(dtype: torch.dtype = torch.float32, shapes: list[Any] = SHAPES) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        (0.1 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
        for shape in shapes
    ]


def noisy(dtype: torch.dtype = torch.float32, missing: bool = False) -> Grads:
    """Gradients with a steady part and noise, the same for whoever asks for step t."""

    def grads(step: int) -> list[Tensor | None]:
        generator = torch.Generator().manual_seed(step)
        steady = torch.Generator().manual_seed(99)
        given: list[Tensor | None] = []
        for number, shape in enumerate(SHAPES):
            g = 0.1 * torch.randn(shape, generator=generator)
            g = g + 0.05 * torch.randn(shape, generator=steady)
            absent = missing and (step + number) % 3 == 0
            given.append(None if absent else g.to(dtype))
        return given

    return grads


def drive(optimizer: Any, params: list[Tensor], grads: Grads, first: int, last: int) -> None:
    for step in range(first, last + 1):
        for p, g in zip(params, grads(step), strict=True):
            p.grad = None if g is None else g.clone()
        optimizer.step()


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    gaps = [
        (a.detach().double() - b.detach().double()).abs().max().item()
        for a, b in zip(ours, theirs, strict=True)
        if a.numel()
    ]
    return max(gaps)


OPTIONS = st.fixed_dictionaries(
    {
        "lr": st.floats(1e-5, 1e-2),
        "betas": st.tuples(st.floats(0, 0.98), st.floats(0.5, 0.9999)),
        "eps": st.sampled_from([1e-8, 1e-4]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "maximize": st.booleans(),
    }
)
COUPLING = st.fixed_dictionaries(
    {
        "coupling": st.floats(-0.5, 1),
        "memory": st.floats(0, 1),
        "bound": st.floats(0, 2),
        "lead": st.floats(0, 1),
        "refresh": st.integers(1, 5),
    }
)


@settings(max_examples=12, deadline=None)
@given(options=OPTIONS, missing=st.booleans(), foreach=st.booleans())
def test_without_coupling_and_lead_it_is_torchs_adamw(
    options: dict[str, Any], missing: bool, foreach: bool
) -> None:
    ours, theirs = parameters(), parameters()
    plain = DCLR(ours, **options, coupling=0.0, lead=0.0, foreach=foreach)
    drive(plain, ours, noisy(missing=missing), 1, 12)
    drive(torch.optim.AdamW(theirs, **options), theirs, noisy(missing=missing), 1, 12)
    assert worst(ours, theirs) <= 1e-7


def test_without_coupling_and_lead_the_defaults_are_adamws() -> None:
    ours, theirs = parameters(), parameters()
    drive(DCLR(ours, coupling=0.0, lead=0.0), ours, noisy(), 1, 50)
    drive(torch.optim.AdamW(theirs), theirs, noisy(), 1, 50)
    assert worst(ours, theirs) <= 1e-7


@settings(max_examples=16, deadline=None)
@given(
    options=OPTIONS,
    coupling=COUPLING,
    missing=st.booleans(),
    way=st.sampled_from([{}, {"foreach": True}, {"foreach": False}, {"capturable": True}]),
)
def test_the_quick_form_is_the_slow_one(
    options: dict[str, Any], coupling: dict[str, Any], missing: bool, way: dict[str, bool]
) -> None:
    quick, slow = parameters(), parameters()
    grads = noisy(missing=missing)
    drive(DCLR(quick, **options, **coupling, **way), quick, grads, 1, 8)
    drive(ReferenceDCLR(slow, **options, **coupling), slow, grads, 1, 8)
    assert worst(quick, slow) <= 1e-6


@pytest.mark.parametrize("foreach", [False, True])
def test_tensors_of_several_dtypes_are_all_stepped(foreach: bool) -> None:
    dtypes = [torch.float32, torch.float64, torch.float32, torch.float64]
    quick, slow = (
        [torch.linspace(-1, 1, 6, dtype=dtype).requires_grad_() for dtype in dtypes]
        for _ in range(2)
    )

    def grads(step: int) -> list[Tensor | None]:
        generator = torch.Generator().manual_seed(step)
        return [torch.randn(6, generator=generator).to(dtype) for dtype in dtypes]

    drive(DCLR(quick, foreach=foreach), quick, grads, 1, 4)
    drive(ReferenceDCLR(slow), slow, grads, 1, 4)
    assert worst(quick, slow) <= 1e-6


@pytest.mark.parametrize("foreach", [False, True])
def test_in_double_precision_the_two_forms_differ_by_rounding_alone(foreach: bool) -> None:
    quick, slow = parameters(torch.float64), parameters(torch.float64)
    drive(DCLR(quick, lr=1e-2, foreach=foreach), quick, noisy(torch.float64), 1, 60)
    drive(ReferenceDCLR(slow, lr=1e-2), slow, noisy(torch.float64), 1, 60)
    assert worst(quick, slow) <= 1e-14


def test_the_first_step_with_full_lead_is_one_and_beta1_rates_long() -> None:
    p = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    p.grad = torch.tensor([3.0, -0.25], dtype=torch.float64)
    DCLR([p], lr=0.01, betas=(0.9, 0.999), eps=0.0, weight_decay=0.0).step()
    assert p.tolist() == pytest.approx([1 - 0.019, -2 + 0.019], abs=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_steady_gradient_charges_the_coupler_as_the_formula_says(sign: float) -> None:
    kappa, rho, beta1 = 0.02, 0.95, 0.9
    p = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = DCLR([p], lr=1e-3, betas=(beta1, 0.999), coupling=sign * kappa, memory=rho)
    h = 0.0
    for step in range(1, 40):
        p.grad = torch.tensor([1.0, -2.0, 0.5, 1e-3], dtype=torch.float64)
        optimizer.step()
        if step >= 2:
            # m_{t-1} = (1 - beta1^(t-1)) g and vhat = g^2.
            h = rho * h + sign * kappa * (1 - beta1 ** (step - 1))
        (gain,) = optimizer.gains()
        assert gain is not None
        assert gain.item() == pytest.approx(math.exp(h), rel=1e-9)


def test_gains_stay_within_the_bound() -> None:
    steady, flipping = (torch.zeros(8, requires_grad=True) for _ in range(2))
    optimizer = DCLR([steady, flipping], coupling=0.3, bound=0.5, betas=(0.5, 0.999))
    for step in range(200):
        steady.grad = torch.ones(8)
        flipping.grad = torch.full((8,), (-1.0) ** step)
        optimizer.step()
    high, low = optimizer.gains()
    assert high is not None
    assert low is not None
    assert high.item() == pytest.approx(math.exp(0.5))
    assert low.item() == pytest.approx(math.exp(-0.5))


def test_the_coupler_moves_only_at_its_refresh() -> None:
    p = torch.zeros(3, requires_grad=True)
    optimizer = DCLR([p], refresh=4, coupling=0.01)
    seen = []
    for _ in range(12):
        p.grad = torch.ones(3)
        optimizer.step()
        (gain,) = optimizer.gains()
        assert gain is not None
        seen.append(gain.item())
    changed = [step for step in range(2, 13) if seen[step - 1] != seen[step - 2]]
    assert changed == [2, 6, 10]


def test_a_coordinate_that_never_saw_a_gradient_counts_nothing() -> None:
    p = torch.ones(4, requires_grad=True)
    optimizer = DCLR([p], lr=0.1, weight_decay=0.0, coupling=0.01, memory=0.0, betas=(0.0, 0.9))
    for _ in range(3):
        p.grad = torch.tensor([1.0, 0.0, 0.0, 0.0])
        optimizer.step()
    (gain,) = optimizer.gains()
    assert gain is not None
    assert gain.item() == pytest.approx(math.exp(0.01 / 4))
    assert p[1:].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("options", [{}, {"coupling": 0.0}, {"lead": 0.0}, {"refresh": 4}])
def test_it_finds_the_bottom_of_rosenbrocks_valley(options: dict[str, Any]) -> None:
    p = torch.tensor([-1.5, 2.0], dtype=torch.float64, requires_grad=True)
    optimizer = DCLR([p], lr=2e-2, weight_decay=0.0, betas=(0.9, 0.99), **options)
    for _ in range(1500):
        optimizer.zero_grad()
        x, y = p
        ((1 - x) ** 2 + 100 * (y - x**2) ** 2).backward()
        optimizer.step()
    assert p.tolist() == pytest.approx([1.0, 1.0], abs=0.05)


def test_a_closure_runs_once_with_gradients_and_its_loss_comes_back() -> None:
    p = torch.tensor(2.0, requires_grad=True)
    optimizer = DCLR([p], lr=0.1, weight_decay=0.0)
    calls = []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = p**2
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert calls == [True]
    assert p.item() == pytest.approx(2.0 - 0.19)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("way", [{}, {"foreach": True}, {"capturable": True}])
def test_a_resumed_run_is_the_unbroken_one(dtype: torch.dtype, way: dict[str, bool]) -> None:
    def make(params: list[Tensor]) -> DCLR:
        return DCLR(params, lr=1e-2, refresh=3, **way)

    whole = parameters(dtype)
    drive(make(whole), whole, noisy(dtype, missing=True), 1, 20)

    first = parameters(dtype)
    optimizer = make(first)
    drive(optimizer, first, noisy(dtype, missing=True), 1, 9)
    saved = copy.deepcopy(optimizer.state_dict())
    second = [p.detach().clone().requires_grad_() for p in first]
    resumed = DCLR(second)
    resumed.load_state_dict(saved)
    drive(resumed, second, noisy(dtype, missing=True), 10, 20)

    for a, b in zip(whole, second, strict=True):
        assert torch.equal(a, b)


def test_a_state_dict_comes_back_as_it_went() -> None:
    params = parameters(torch.bfloat16)
    optimizer = DCLR(params, lr=1e-2)
    drive(optimizer, params, noisy(torch.bfloat16), 1, 5)
    saved = copy.deepcopy(optimizer.state_dict())
    other = DCLR(parameters(torch.bfloat16))
    other.load_state_dict(saved)
    back = other.state_dict()
    assert back["param_groups"] == saved["param_groups"]
    for index, entry in saved["state"].items():
        for name, value in entry.items():
            assert back["state"][index][name].dtype == value.dtype
            assert torch.equal(back["state"][index][name], value)


def test_it_goes_on_from_adamws_state() -> None:
    ours, theirs = parameters(), parameters()
    adamw = torch.optim.AdamW(theirs, lr=1e-2)
    drive(adamw, theirs, noisy(), 1, 5)
    for a, b in zip(ours, theirs, strict=True):
        a.data.copy_(b.data)
    optimizer = DCLR(ours, coupling=0.0, lead=0.0)
    optimizer.load_state_dict(copy.deepcopy(adamw.state_dict()))
    drive(optimizer, ours, noisy(), 6, 10)
    drive(adamw, theirs, noisy(), 6, 10)
    assert worst(ours, theirs) <= 1e-7


def test_bfloat16_parameters_learn() -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(64, 8, generator=generator).to(torch.bfloat16)
    target = inputs @ torch.randn(8, 1, generator=generator).to(torch.bfloat16)
    weight = torch.zeros(8, 1, dtype=torch.bfloat16, requires_grad=True)
    optimizer = DCLR([weight], lr=3e-2, weight_decay=0.0)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = ((inputs @ weight - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert weight.dtype == torch.bfloat16
    assert losses[-1] < 0.05 * losses[0]


def test_a_sparse_gradient_is_refused_in_one_line() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 3])).sum().backward()
    before = table.weight.detach().clone()
    with pytest.raises(GeoBasinError, match=r"sparse gradients.*\(5, 2\)"):
        DCLR(table.parameters()).step()
    assert torch.equal(table.weight, before)


def test_a_complex_parameter_is_refused() -> None:
    p = torch.zeros(2, dtype=torch.complex64, requires_grad=True)
    p.grad = torch.ones_like(p)
    with pytest.raises(GeoBasinError, match="complex"):
        DCLR([p]).step()


def test_a_missing_gradient_leaves_parameter_and_state_alone() -> None:
    here, gone = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = DCLR([here, gone], lr=0.1)
    here.grad, gone.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    kept, state = gone.detach().clone(), copy.deepcopy(optimizer.state[gone])
    gone.grad = None
    optimizer.step()
    assert torch.equal(gone, kept)
    assert all(torch.equal(optimizer.state[gone][name], value) for name, value in state.items())
    assert optimizer.state[here]["step"].item() == 2


@pytest.mark.parametrize("capturable", [False, True])
def test_a_step_reads_nothing_back_from_the_device(capturable: bool) -> None:
    # A tensor on "meta" has no values: any attempt to read one raises.
    params = [torch.empty(shape, device="meta", requires_grad=True) for shape in SHAPES]
    optimizer = DCLR(params, capturable=capturable, refresh=2)
    for _ in range(5):
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.step()
    with pytest.raises(RuntimeError):
        params[0].sum().item()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", -1.0),
        ("lr", math.nan),
        ("lr", torch.tensor(0.1)),
        ("betas", (1.0, 0.999)),
        ("betas", (0.9, -0.1)),
        ("eps", -1e-8),
        ("weight_decay", -0.1),
        ("coupling", math.inf),
        ("memory", 1.5),
        ("bound", -1.0),
        ("lead", 2.0),
        ("refresh", 0),
        ("refresh", 1.5),
        ("foreach", "yes"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(GeoBasinError, match=option):
        DCLR([torch.zeros(1, requires_grad=True)], **{option: value})
    optimizer = DCLR([torch.zeros(1, requires_grad=True)])
    with pytest.raises(GeoBasinError, match=option):
        optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)], option: value})


def test_a_tensor_rate_is_taken_where_it_stays_on_the_device() -> None:
    tensor, number = parameters(), parameters()
    drive(DCLR(tensor, lr=torch.tensor(0.01), capturable=True), tensor, noisy(), 1, 8)
    drive(DCLR(number, lr=0.01), number, noisy(), 1, 8)
    assert worst(tensor, number) <= 1e-6


def test_groups_have_options_of_their_own() -> None:
    a, b = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = DCLR([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.1, weight_decay=0.0)
    a.grad, b.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert a.tolist() == pytest.approx([1 - 0.95] * 2, abs=1e-6)
    assert b.tolist() == pytest.approx([1 - 0.19] * 2, abs=1e-6)


@pytest.mark.parametrize("options", [{"refresh": 3}, {"capturable": True}])
def test_it_works_under_torch_compile(options: dict[str, Any]) -> None:
    compiled, plain = parameters(shapes=[(4, 3), (5,)]), parameters(shapes=[(4, 3), (5,)])
    optimizer, other = DCLR(compiled, lr=1e-2, **options), DCLR(plain, lr=1e-2, **options)
    torch.compiler.reset()
    # aot_eager traces as the default back end does, and needs no C++ compiler. A graph anew for
    # every step would run into torch's limit of eight.
    step = torch.compile(lambda: optimizer.step(), backend="aot_eager", fullgraph=True)
    for number in range(12):
        generator = torch.Generator().manual_seed(number)
        for p, q in zip(compiled, plain, strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        step()
        other.step()
    assert worst(compiled, plain) <= 1e-6


# The coupler as an observer.


def test_a_reading_is_what_numpy_makes_of_the_tensors() -> None:
    params = parameters(torch.float64)
    optimizer = torch.optim.Adam(params, lr=1e-2)
    coupler = OrbitalCoupler(optimizer)
    drive(optimizer, params, noisy(torch.float64), 1, 4)
    for p, g in zip(params, noisy(torch.float64)(5), strict=True):
        p.grad = g

    def flat(tensors: list[Tensor]) -> Any:
        return np.concatenate([t.detach().numpy().ravel() for t in tensors])

    g = flat([p.grad for p in params])  # type: ignore[misc]
    m = flat([optimizer.state[p]["exp_avg"] for p in params]).copy()
    before = flat(params).copy()
    reading = coupler.step()
    moved = flat(params) - before
    cosine = g @ m / np.linalg.norm(g) / np.linalg.norm(m)
    assert reading.coh == pytest.approx(cosine, abs=1e-6)
    assert reading.drift == pytest.approx(np.arccos(cosine), abs=1e-6)
    assert reading.flux == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(before), rel=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=1e-2),
        lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.3),
        lambda p: torch.optim.AdamW(p, lr=1e-2, maximize=True),
        lambda p: DCLR(p, lr=1e-2, coupling=0.0, lead=0.0),
    ],
)
def test_adam_retains_the_energy_of_its_own_step(make: Any) -> None:
    params = parameters()
    coupler = OrbitalCoupler(make(params))
    for step in range(1, 6):
        for p, g in zip(params, noisy()(step), strict=True):
            p.grad = g
        assert coupler.step().e_ret == pytest.approx(1.0, abs=1e-3)


def test_a_halved_rate_retains_a_quarter() -> None:
    params = parameters()
    optimizer = DCLR(params, lr=1e-2, coupling=0.0, lead=0.0, weight_decay=0.0)
    coupler = OrbitalCoupler(optimizer)
    drive(optimizer, params, noisy(), 1, 3)
    for p, g in zip(params, noisy()(4), strict=True):
        p.grad = g
    coupler.before_step()
    before = [p.detach().clone() for p in params]
    optimizer.step()
    with torch.no_grad():
        for p, old in zip(params, before, strict=True):
            p.copy_((p + old) / 2)
    assert coupler.after_step().e_ret == pytest.approx(0.25, abs=1e-3)


def test_a_first_step_has_no_phase() -> None:
    params = parameters()
    optimizer = torch.optim.Adam(params)
    drive_one = noisy()(1)
    for p, g in zip(params, drive_one, strict=True):
        p.grad = g
    reading = OrbitalCoupler(optimizer).step()
    assert reading.coh is None
    assert reading.drift is None
    assert reading.flux is not None
    assert reading.flux > 0


def test_an_optimiser_without_adams_state_shows_its_flux_alone() -> None:
    p = torch.tensor([3.0, 4.0], requires_grad=True)
    coupler = OrbitalCoupler(torch.optim.SGD([p], lr=0.5, momentum=0.9))
    for _ in range(2):
        p.grad = torch.tensor([0.6, 0.8])
        reading = coupler.step()
    assert (reading.coh, reading.drift, reading.e_ret) == (None, None, None)
    assert reading.flux == pytest.approx(0.95 / 4.5, rel=1e-5)


@pytest.mark.parametrize(("turn", "drift"), [(1.0, 0.0), (-1.0, math.pi)])
@pytest.mark.parametrize("maximize", [False, True])
def test_the_drift_of_a_steady_and_of_a_reversed_gradient(
    turn: float, drift: float, maximize: bool
) -> None:
    p = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.AdamW([p], maximize=maximize)
    coupler = OrbitalCoupler(optimizer)
    g = torch.tensor([1.0, 2.0, -3.0])
    p.grad = g
    optimizer.step()
    p.grad = turn * g
    assert coupler.step().drift == pytest.approx(drift, abs=1e-3)


def test_watching_changes_nothing() -> None:
    watched, alone = parameters(), parameters()
    coupler = OrbitalCoupler(DCLR(watched, lr=1e-2))
    other = DCLR(alone, lr=1e-2)
    for step in range(1, 10):
        for p, q, g in zip(watched, alone, noisy()(step), strict=True):
            assert g is not None
            p.grad, q.grad = g, g.clone()
        coupler.step()
        other.step()
    for p, q in zip(watched, alone, strict=True):
        assert torch.equal(p, q)


def test_noise_has_no_coherence_with_the_past_and_0_436_with_itself() -> None:
    p = torch.zeros(200_000, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=1e-4)
    coupler = OrbitalCoupler(optimizer)
    generator = torch.Generator().manual_seed(5)
    for _ in range(60):
        p.grad = torch.randn(p.shape, generator=generator)
        reading = coupler.step()
    late = torch.cosine_similarity(p.grad, optimizer.state[p]["exp_avg"], dim=0).item()
    # The cosine of N independent coordinates scatters by 1/sqrt(N).
    assert reading.coh == pytest.approx(0.0, abs=5 / math.sqrt(p.numel()))
    assert late == pytest.approx(math.sqrt(1 - 0.9**2), abs=0.01)


def test_a_reading_needs_a_look_beforehand() -> None:
    coupler = OrbitalCoupler(torch.optim.Adam([torch.zeros(1, requires_grad=True)]))
    with pytest.raises(GeoBasinError, match="before_step"):
        coupler.after_step()
