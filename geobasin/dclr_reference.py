"""DCLR slowly: the five lines of :mod:`geobasin.dclr`, one tensor and one line at a time."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from geobasin.dclr import check_options


class ReferenceDCLR(Optimizer):
    """What :class:`geobasin.dclr.DCLR` must agree with; made to be read, not to be quick.

    Everything is computed in float64 whatever the parameter's dtype, and h is a Python number.

    Args:
        params: parameters, real and dense, of any shape.
        lr: learning rate, >= 0.
        betas: decay of the momentum and of the squared gradient, both in [0, 1).
        eps: added to the root of the second moment, >= 0.
        weight_decay: decoupled weight decay, >= 0.
        coupling: kappa.
        memory: rho, in [0, 1].
        bound: H, >= 0.
        lead: the phase lead, in [0, 1].
        refresh: A is measured at steps 2, 2 + refresh, 2 + 2 refresh, ...
        maximize: climb instead of descend.

    Raises:
        GeoBasinError: an argument is out of its range.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        coupling: float = 0.3,
        memory: float = 0.99,
        bound: float = 2.0,
        lead: float = 1.0,
        *,
        refresh: int = 1,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "coupling": coupling,
            "memory": memory,
            "bound": bound,
            "lead": lead,
            "refresh": refresh,
            "maximize": maximize,
        }
        check_options({**defaults, "foreach": None, "capturable": False})
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take one step; a parameter without a gradient is skipped."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _step_one(parameter, parameter.grad.double(), self.state[parameter], group)


def _step_one(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    beta1, beta2 = group["betas"]
    g = -gradient if group["maximize"] else gradient
    if not state:
        state.update(t=0, h=0.0, theta=parameter.double(), m=g * 0, v=g * 0)
    state["t"] += 1
    t = state["t"]

    if t >= 2 and (t - 2) % group["refresh"] == 0:
        vhat = state["v"] / (1 - beta2 ** (t - 1))
        phase = torch.where(vhat > 0, g * state["m"] / vhat, 0.0)  # line 1
        coherence = phase.clamp(-1, 1).mean().item()
        h = state["h"]
        for _ in range(group["refresh"]):
            h = group["memory"] * h + group["coupling"] * coherence  # line 2
            h = max(-group["bound"], min(group["bound"], h))
        state["h"] = h

    state["m"] = beta1 * state["m"] + (1 - beta1) * g  # line 3
    state["v"] = beta2 * state["v"] + (1 - beta2) * g**2

    ahead = beta1 * state["m"] + (1 - beta1) * g
    lifted = (1 - group["lead"]) * state["m"] + group["lead"] * ahead
    vhat = state["v"] / (1 - beta2**t)
    u = lifted / (1 - beta1**t) / (vhat.sqrt() + group["eps"])  # line 4

    state["theta"] = (
        state["theta"] * (1 - group["lr"] * group["weight_decay"])
        - group["lr"] * math.exp(state["h"]) * u  # line 5
    )
    parameter.copy_(state["theta"])
