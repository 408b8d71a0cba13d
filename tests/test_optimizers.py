"""Optimisers by name: options reach them, and what is unknown is refused in one line."""

from typing import Any

import pytest
import torch

from geobasin.dclr import DCLR
from geobasin.errors import GeoBasinError
from geobasin.optimizers import NAMES, make_optimizer
from geobasin.rival_optimizers import HGM, AdaTAM

ADAM_KIN = [name for name in NAMES if name != "sgd"]


def trained(optimizer: torch.optim.Optimizer, p: torch.nn.Parameter) -> torch.Tensor:
    for step in range(6):
        generator = torch.Generator().manual_seed(step)
        p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    return p.detach().clone()


def fresh() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.linspace(-1, 1, 5))


@pytest.mark.parametrize("name", ADAM_KIN)
def test_betas_reach_every_kin_of_adam(name: str) -> None:
    moved = []
    for beta1 in (0.5, 0.95):
        p = fresh()
        optimizer = make_optimizer(name, [p], 1e-2, betas=(beta1, 0.999))
        assert [tuple(group["betas"]) for group in optimizer.param_groups] == [(beta1, 0.999)]
        moved.append(trained(optimizer, p))
    assert not torch.allclose(*moved)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_rate_and_decay_reach_every_optimiser(name: str, weight_decay: float) -> None:
    optimizer = make_optimizer(name, [fresh()], 0.025, weight_decay)
    assert {group["lr"] for group in optimizer.param_groups} == {0.025}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {weight_decay}


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("dclr", lambda p: DCLR(p, lr=1e-2, weight_decay=0.1)),
        ("hgm", lambda p: HGM(p, lr=1e-2, weight_decay=0.1)),
        ("adatam", lambda p: AdaTAM(p, lr=1e-2, weight_decay=0.1)),
        ("adam", lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=1e-2, weight_decay=0.1, momentum=0.9)),
    ],
)
def test_a_name_stands_for_that_optimiser(name: str, make: Any) -> None:
    ours, theirs = fresh(), fresh()
    named = make_optimizer(name, [ours], 1e-2, 0.1)
    direct = make([theirs])
    assert type(named) is type(direct)
    assert torch.equal(trained(named, ours), trained(direct, theirs))


def test_all_parameters_stay_in_one_group_in_their_order() -> None:
    params = [torch.nn.Parameter(torch.zeros(shape)) for shape in [(2, 2), (2,), ()]]
    for name in NAMES:
        (group,) = make_optimizer(name, iter(params), 1e-3).param_groups
        assert all(a is b for a, b in zip(group["params"], params, strict=True))


def test_an_option_of_dclr_reaches_it() -> None:
    optimizer = make_optimizer("dclr", [fresh()], 1e-3, refresh=4, coupling=0.1)
    (group,) = optimizer.param_groups
    assert (group["refresh"], group["coupling"]) == (4, 0.1)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(GeoBasinError, match=r"newton.*dclr.*hgm.*adatam.*adamw"):
        make_optimizer("newton", [fresh()], 1e-3)
