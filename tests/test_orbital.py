"""The observer against numpy, on tensors that are cut, joined, turned and of several kinds."""

import numpy as np
import pytest
import torch
from torch import Tensor

from geobasin.dclr import DCLR
from geobasin.orbital import OrbitalCoupler


def tensors(dtype: torch.dtype) -> list[Tensor]:
    """Longer than a block, as long as some, short, a scalar, and one that is not contiguous."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(300_000,), (260, 1100), (40_000,), (200, 3), (7,), ()]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [*made, torch.randn(300, 100, generator=generator).to(dtype).T]


def flat(parts: list[Tensor]) -> np.ndarray:
    return np.concatenate([part.detach().double().numpy().ravel() for part in parts])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_reading_is_what_numpy_makes_of_tensors_of_every_size(dtype: torch.dtype) -> None:
    params = [p.detach().requires_grad_() for p in tensors(dtype)]
    still = torch.full((11,), 2.0, dtype=dtype, requires_grad=True)
    groups = [{"params": params[:3]}, {"params": [*params[3:], still], "lr": 3e-3}]
    optimizer = DCLR(groups, lr=1e-2, weight_decay=0.1)
    coupler = OrbitalCoupler(optimizer)
    generator = torch.Generator().manual_seed(2)
    for step in range(3):
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(dtype)
        if step == 2:
            m = flat([optimizer.state[p]["exp_avg"] for p in params])
        before = flat(params)
        reading = coupler.step()

    g, after = flat([p.grad for p in params if p.grad is not None]), flat(params)
    assert reading.coh == pytest.approx(g @ m / np.linalg.norm(g) / np.linalg.norm(m), abs=1e-6)
    whole = np.append(before, np.full(11, 2.0))
    moved = np.linalg.norm(after - before)
    assert reading.flux == pytest.approx(moved / np.linalg.norm(whole), rel=1e-5)

    m, v = (flat([optimizer.state[p][k] for p in params]) for k in ("exp_avg", "exp_avg_sq"))
    edge = sum(p.numel() for p in params[:3])
    lr = np.where(np.arange(len(before)) < edge, 1e-2, 3e-3)
    adamw = m / (1 - 0.9**3) / (np.sqrt(v / (1 - 0.999**3)) + 1e-8) + 0.1 * before
    assert reading.e_ret == pytest.approx((moved / np.linalg.norm(lr * adamw)) ** 2, rel=1e-4)
