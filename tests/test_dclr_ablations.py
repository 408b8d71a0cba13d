"""DCLR's gains recorded, and put back changed: held to DCLR itself and to torch's AdamW."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geobasin.dclr import DCLR
from geobasin.dclr_ablations import (
    PrescribedGains,
    integrate_coherence,
    mean_rate,
    permute_tensors,
    shuffle_coherence,
    shuffle_in_time,
    static_gains,
)
from geobasin.dclr_reference import ReferenceDCLR
from geobasin.dclr_trace import GainTrace, record_gains
from geobasin.errors import GeoBasinError

SHAPES = [(7, 5), (3,), (), (30, 20)]


def parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        (0.1 * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
        for shape in SHAPES
    ]


def drive(
    optimizer: Any, params: list[Tensor], first: int, last: int, *, missing: bool = False
) -> None:
    """Steps first to last on gradients that depend on the step's number alone."""
    for step in range(first, last + 1):
        generator = torch.Generator().manual_seed(step)
        for number, p in enumerate(params):
            steady = torch.full(p.shape, 0.1 * (number + 1))
            g = steady + 0.2 * torch.randn(p.shape, generator=generator)
            absent = missing and (step + number) % 3 == 0
            p.grad = None if absent else g.to(p.dtype)
        optimizer.step()


def recorded(
    steps: int = 20, dtype: torch.dtype = torch.float32, missing: bool = False, **options: Any
) -> tuple[list[Tensor], GainTrace]:
    params = parameters(dtype)
    optimizer = DCLR(params, lr=1e-2, **options)
    recorder = record_gains(optimizer)
    drive(optimizer, params, 1, steps, missing=missing)
    return params, recorder.trace()


def same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def worst(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(
        (a.detach().double() - b.detach().double()).abs().max().item()
        for a, b in zip(ours, theirs, strict=True)
    )


def table(rows: int = 6, columns: int = 5) -> GainTrace:
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(rows, columns, generator=generator)
    return GainTrace(h, torch.rand(rows, columns, generator=generator))


# Recording.


@pytest.mark.parametrize("options", [{}, {"refresh": 3}, {"bound": 0.2}, {"maximize": True}])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_recording_changes_nothing(
    options: dict[str, Any], missing: bool, capturable: bool
) -> None:
    watched, trace = recorded(missing=missing, capturable=capturable, **options)
    alone = parameters()
    optimizer = DCLR(alone, lr=1e-2, capturable=capturable, **options)
    drive(optimizer, alone, 1, 20, missing=missing)
    assert same(watched, alone)
    assert trace.log_gains.shape == trace.coherence.shape == (20, len(SHAPES))
    gains = [g for g in optimizer.gains() if g is not None]
    assert torch.equal(trace.log_gains[-1].exp(), torch.stack(gains))


@pytest.mark.parametrize("options", [{}, {"refresh": 3}, {"bound": 0.2}, {"maximize": True}])
@pytest.mark.parametrize("missing", [False, True])
def test_the_recorded_coherence_gives_the_recorded_gains(
    options: dict[str, Any], missing: bool
) -> None:
    _, trace = recorded(missing=missing, **options)
    settings = {"bound": 2.0, "refresh": 1} | {
        name: value for name, value in options.items() if name != "maximize"
    }
    again = integrate_coherence(trace.coherence, memory=0.99, coupling=0.3, **settings)
    torch.testing.assert_close(again, trace.log_gains, rtol=0, atol=1e-6)
    assert trace.log_gains.abs().max() > 0.1


def test_the_recorded_gains_are_those_of_the_slow_form() -> None:
    _, trace = recorded(dtype=torch.float64, refresh=2)
    params = parameters(torch.float64)
    slow = ReferenceDCLR(params, lr=1e-2, refresh=2)
    rows = []
    for step in range(1, 21):
        drive(slow, params, step, step)
        rows.append([slow.state[p]["h"] for p in params])
    assert trace.log_gains.dtype == torch.float64
    np.testing.assert_allclose(trace.log_gains.numpy(), rows, atol=1e-12)


def test_the_coherence_is_the_mean_of_the_clamped_products() -> None:
    p = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = DCLR([p], betas=(0.8, 0.9))
    recorder = record_gains(optimizer)
    first, second = np.array([1.0, -2.0, 0.5, 0.0]), np.array([0.3, 9.0, 0.1, 1.0])
    for g in (first, second):
        p.grad = torch.from_numpy(g.copy())
        optimizer.step()
    # m_1 = 0.2 g_1 and vhat_1 = g_1^2; the last coordinate has no past.
    expected = np.clip(0.2 * second[:3] / first[:3], -1, 1).sum() / 4
    assert recorder.trace().coherence[0].isnan().all()
    assert recorder.trace().coherence[1].item() == pytest.approx(expected, abs=1e-12)


def test_what_was_not_measured_is_unknown() -> None:
    _, trace = recorded(steps=9, refresh=3)
    measured = [step for step in range(1, 10) if not trace.coherence[step - 1].isnan().any()]
    assert measured == [2, 5, 8]
    _, gappy = recorded(steps=9, missing=True)
    absent = [[(step + number) % 3 == 0 for number in range(4)] for step in range(1, 10)]
    assert gappy.coherence.isnan()[torch.tensor(absent)].all()


def test_a_recorder_stops_when_told_and_needs_a_step() -> None:
    params = parameters()
    optimizer = DCLR(params)
    recorder = record_gains(optimizer)
    with pytest.raises(GeoBasinError, match="take a step"):
        recorder.trace()
    drive(optimizer, params, 1, 3)
    recorder.stop()
    drive(optimizer, params, 4, 6)
    assert len(recorder.trace().log_gains) == 3


def test_a_closure_cannot_be_recorded() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = DCLR([p])
    record_gains(optimizer)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss.item()

    with pytest.raises(GeoBasinError, match="closure"):
        optimizer.step(closure)
    assert p.tolist() == [1.0, 1.0]


# Prescribed gains.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("capturable", [False, True])
def test_a_replay_is_the_run(dtype: torch.dtype, missing: bool, capturable: bool) -> None:
    first, trace = recorded(dtype=dtype, missing=missing, capturable=capturable)
    again = parameters(dtype)
    optimizer = PrescribedGains(again, trace.log_gains, lr=1e-2, capturable=capturable)
    drive(optimizer, again, 1, 20, missing=missing)
    assert same(first, again)


@settings(max_examples=10, deadline=None)
@given(
    gain=st.floats(-1, 1),
    lr=st.floats(1e-4, 1e-2),
    beta1=st.floats(0, 0.95),
    maximize=st.booleans(),
)
def test_one_gain_without_a_lead_is_adamw_at_that_rate(
    gain: float, lr: float, beta1: float, maximize: bool
) -> None:
    ours, theirs = parameters(), parameters()
    options = {"betas": (beta1, 0.99), "maximize": maximize}
    schedule = torch.full((10, len(SHAPES)), gain)
    # Decay goes with the rate itself, not with the gain.
    rate = lr * math.exp(gain)
    drive(
        PrescribedGains(ours, schedule, lr=lr, lead=0.0, weight_decay=0.1, **options), ours, 1, 10
    )
    drive(
        torch.optim.AdamW(theirs, lr=rate, weight_decay=0.1 * lr / rate, **options), theirs, 1, 10
    )
    assert worst(ours, theirs) <= 1e-6


@pytest.mark.parametrize("lead", [0.0, 0.6, 1.0])
def test_gains_of_zero_are_dclr_without_its_coupler(lead: float) -> None:
    ours, theirs = parameters(), parameters()
    silent = GainTrace(torch.zeros(10, len(SHAPES)), torch.zeros(10, len(SHAPES)))
    drive(PrescribedGains(ours, mean_rate(silent), lr=1e-2, lead=lead), ours, 1, 10)
    drive(ReferenceDCLR(theirs, lr=1e-2, coupling=0.0, lead=lead), theirs, 1, 10)
    assert worst(ours, theirs) <= 1e-6


def test_every_tensor_of_every_group_gets_its_own_column() -> None:
    shapes = [(2,), (3,), (4,)]
    a, b, c = (torch.zeros(shape, requires_grad=True) for shape in shapes)
    h = torch.tensor([[0.1, -0.2, 0.3], [0.5, 0.6, -0.7]])
    optimizer = PrescribedGains(
        [{"params": [a, b]}, {"params": [c]}], h, lr=1.0, lead=0.0, weight_decay=0.0, eps=0.0
    )
    expected = torch.zeros(3)
    for row in h:
        for p in (a, b, c):
            p.grad = torch.ones_like(p)
        optimizer.step()
        # A steady gradient makes every step of Adam one rate long.
        expected -= row.exp()
    assert [p[0].item() for p in (a, b, c)] == pytest.approx(expected.tolist(), rel=1e-5)
    assert [g.item() for g in optimizer.gains() if g is not None] == pytest.approx(
        h[1].exp().tolist()
    )


def test_past_its_last_row_it_refuses_and_moves_nothing() -> None:
    params = parameters()
    optimizer = PrescribedGains(params, torch.zeros(3, len(SHAPES)))
    drive(optimizer, params, 1, 3)
    before = [p.detach().clone() for p in params]
    with pytest.raises(GeoBasinError, match="ends after 3 steps"):
        drive(optimizer, params, 4, 4)
    assert same(params, before)


def test_a_resumed_run_goes_on_at_its_row() -> None:
    generator = torch.Generator().manual_seed(4)
    schedule = torch.randn(12, len(SHAPES), generator=generator)
    whole, first = parameters(), parameters()
    drive(PrescribedGains(whole, schedule, lr=1e-2), whole, 1, 12)
    optimizer = PrescribedGains(first, schedule, lr=1e-2)
    drive(optimizer, first, 1, 5)
    second = [p.detach().clone().requires_grad_() for p in first]
    resumed = PrescribedGains(second, schedule)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    drive(resumed, second, 6, 12)
    assert same(whole, second)


def test_it_takes_over_the_state_of_a_dclr_at_its_first_row() -> None:
    ours = parameters()
    optimizer = DCLR(ours)
    drive(optimizer, ours, 1, 3)
    taken = PrescribedGains(ours, torch.full((2, len(SHAPES)), 0.5))
    taken.load_state_dict(optimizer.state_dict())
    drive(taken, ours, 4, 5)
    assert [g.item() for g in taken.gains() if g is not None] == pytest.approx([math.exp(0.5)] * 4)


@pytest.mark.parametrize(
    ("schedule", "match"),
    [
        (torch.zeros(4), "shape"),
        (torch.zeros(4, 3), r"\[steps, 4\]"),
        (torch.full((4, 4), math.nan), "finite"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(schedule: Tensor, match: str) -> None:
    with pytest.raises(GeoBasinError, match=match):
        PrescribedGains(parameters(), schedule)


def test_a_later_group_is_refused() -> None:
    optimizer = PrescribedGains(parameters(), torch.zeros(2, 4))
    with pytest.raises(GeoBasinError, match="no columns"):
        optimizer.add_param_group({"params": [torch.zeros(1, requires_grad=True)]})


def test_a_net_learns_under_a_replay_as_under_the_coupler() -> None:
    def train(make: Any) -> tuple[float, GainTrace | None]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
        x = torch.randn(64, 4)
        y = x.prod(dim=1, keepdim=True)
        optimizer = make(net.parameters())
        recorder = record_gains(optimizer)
        for _ in range(40):
            optimizer.zero_grad()
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
        return loss.item(), recorder.trace()

    loss, trace = train(lambda p: DCLR(p, lr=1e-2))
    assert trace is not None
    again, _ = train(lambda p: PrescribedGains(p, trace.log_gains, lr=1e-2))
    other, _ = train(lambda p: PrescribedGains(p, permute_tensors(trace, 0), lr=1e-2))
    assert again == loss
    assert other != loss


# Schedules.


def test_the_mean_rate_is_the_mean_of_the_gains() -> None:
    trace = table()
    gains = np.exp(trace.log_gains.numpy().astype(np.float64))
    assert mean_rate(trace).shape == trace.log_gains.shape
    assert mean_rate(trace).unique().exp().tolist() == pytest.approx([gains.mean()])
    sizes = torch.tensor([1.0, 2.0, 3.0, 4.0, 10.0])
    weighted = np.average(gains.mean(axis=0), weights=sizes.numpy())
    assert mean_rate(trace, sizes).unique().exp().tolist() == pytest.approx([weighted])


def test_static_gains_are_the_columns_means() -> None:
    trace = table()
    still = static_gains(trace)
    expected = np.exp(trace.log_gains.numpy().astype(np.float64)).mean(axis=0)
    for row in still.exp().numpy():
        np.testing.assert_allclose(row, expected, rtol=1e-6)


@given(seed=st.integers(0, 2**31), rows=st.integers(2, 12), columns=st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_shuffles_are_permutations_that_move_something(seed: int, rows: int, columns: int) -> None:
    trace = table(rows, columns)
    h = trace.log_gains
    in_time, across = shuffle_in_time(trace, seed), permute_tensors(trace, seed)
    assert not torch.equal(in_time, h)
    assert not torch.equal(across, h)
    assert sorted(in_time.tolist()) == sorted(h.tolist())
    assert sorted(across.T.tolist()) == sorted(h.T.tolist())
    assert torch.equal(shuffle_in_time(trace, seed), in_time)
    assert torch.equal(permute_tensors(trace, seed), across)


def test_one_row_stays_where_it_is() -> None:
    trace = table(rows=1)
    assert torch.equal(shuffle_in_time(trace, 0), trace.log_gains)


def test_shuffled_coherence_keeps_the_sum_where_nothing_fades_or_clips() -> None:
    _, trace = recorded(steps=15, memory=1.0, bound=100.0)
    shuffled = shuffle_coherence(trace, memory=1.0, coupling=0.3, bound=100.0, seed=3)
    assert torch.equal(shuffled[0], torch.zeros(4))
    assert not torch.allclose(shuffled[5], trace.log_gains[5])
    torch.testing.assert_close(shuffled[-1], trace.log_gains[-1], rtol=1e-5, atol=1e-5)


def test_shuffled_coherence_is_integrated_under_the_bound() -> None:
    coherence = torch.tensor([[math.nan], [1.0], [1.0], [-1.0], [-1.0]])
    trace = GainTrace(torch.zeros(5, 1), coherence)
    seen = set()
    for seed in range(30):
        h = shuffle_coherence(trace, memory=0.5, coupling=0.4, bound=0.5, seed=seed).flatten()
        drives = []
        for before, after in zip(h[:-1].tolist(), h[1:].tolist(), strict=True):
            up = max(-0.5, min(0.5, 0.5 * before + 0.4))
            drives.append(1 if after == pytest.approx(up, abs=1e-6) else -1)
        assert sum(drives) == 0
        seen.add(tuple(drives))
    assert len(seen) == 6  # all the orders of two and two


def test_shuffled_coherence_keeps_to_the_steps_that_measure() -> None:
    _, trace = recorded(steps=15, refresh=4)
    h = shuffle_coherence(trace, memory=0.99, coupling=0.3, bound=2.0, seed=0, refresh=4)
    changed = [step for step in range(2, 16) if not torch.equal(h[step - 1], h[step - 2])]
    assert changed == [2, 6, 10, 14]
