"""The Psi-Omega coupler as an observer: how gradient and momentum agree, and what a step moves.

Psi, the slow phase, is the momentum m_{t-1}; Omega, the fast one, is the gradient g_t. Momentum is
read before the step on purpose: m_t already holds g_t, so that pure noise would show a coherence
of sqrt((1 - beta1^2)) = sqrt(1 - 0.81) = 0.436 where there is none.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from geobasin.errors import GeoBasinError

DEFINITIONS: dict[str, dict[str, str]] = {
    "drift": {
        "is": "angle between the gradient g_t and the momentum m_{t-1}, over all parameters",
        "unit": "rad",
        "range": "[0, pi]",
    },
    "flux": {
        "is": "norm of the step over norm of the parameters before it, |theta_t - theta_{t-1}| / "
        "|theta_{t-1}|",
        "unit": "1",
        "range": "[0, inf)",
    },
    "E_ret": {
        "is": "squared norm of the step over that of the step AdamW would have taken with the same "
        "m_t, v_t, lr, eps and decoupled decay",
        "unit": "1",
        "range": "[0, inf); 1 for AdamW itself",
    },
    "coh": {
        "is": "coherence: cosine of the drift",
        "unit": "1",
        "range": "[-1, 1]; 0 for pure noise",
    },
}


@dataclass(frozen=True)
class OrbitalReading:
    """What one step showed; None where it is not defined, as the drift of a first step.

    Attributes:
        drift: angle between g_t and m_{t-1} in rad, in [0, pi].
        coh: its cosine, in [-1, 1].
        flux: |theta_t - theta_{t-1}| / |theta_{t-1}|, >= 0.
        e_ret: |step|^2 / |AdamW's step|^2, >= 0.
    """

    drift: float | None
    coh: float | None
    flux: float | None
    e_ret: float | None


class OrbitalCoupler:
    """Observe any optimiser of the Adam family, changing nothing.

    It reads ``exp_avg``, ``exp_avg_sq`` and ``step`` where the optimiser keeps them, as torch's and
    timm's Adam, AdamW, NAdam and their kin and :class:`geobasin.dclr.DCLR` do. Where it keeps none,
    as SGD, drift, coherence and E_ret are None. One step costs a copy of the parameters, a few
    passes over them and one read from the device.

    ::

        coupler = OrbitalCoupler(optimizer)
        loss.backward()
        reading = coupler.step()  # optimizer.step(), observed

    Args:
        optimizer: the optimiser to observe.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._before: list[tuple[Tensor, Tensor, dict[str, Any]]] | None = None
        self._phase: Tensor | None = None

    def step(self) -> OrbitalReading:
        """Take the optimiser's step and observe it.

        Returns:
            The step's reading.
        """
        self.before_step()
        self.optimizer.step()
        return self.after_step()

    @torch.no_grad()
    def before_step(self) -> None:
        """Read gradients and momentum and copy the parameters: after backward, before the step."""
        self._before = []
        products: list[Tensor] = []
        for group in self.optimizer.param_groups:
            # A scheduler may change the options between the step and the reading.
            options = {**group, "params": None}
            for p in group["params"]:
                self._before.append((p, p.detach().clone(), options))
                momentum = self.optimizer.state.get(p, {}).get("exp_avg")
                if p.grad is not None and momentum is not None:
                    g = -p.grad if group.get("maximize") else p.grad
                    products.append(torch.stack([_dot(g, momentum), _dot(g, g), _square(momentum)]))
        self._phase = _total(products)

    @torch.no_grad()
    def after_step(self) -> OrbitalReading:
        """Compare with the parameters before the step.

        Returns:
            The step's reading.

        Raises:
            GeoBasinError: :meth:`before_step` was not called since the last reading.
        """
        if self._before is None:
            raise GeoBasinError("OrbitalCoupler: call before_step() ahead of the step, then this")
        moved: list[Tensor] = []
        free: list[Tensor] = []
        known = True
        for p, old, options in self._before:
            if p.grad is not None:
                adamw = _adamw_square(self.optimizer.state.get(p, {}), old, options)
                known = known and adamw is not None
                if adamw is not None:
                    free.append(adamw.reshape(1))
            size = _square(old)
            moved.append(torch.stack([_square(old.sub_(p)), size]))
        phase, moves, adams = self._phase, _total(moved), _total(free) if known else None
        self._before = self._phase = None
        together = torch.cat([part for part in (phase, moves, adams) if part is not None])
        numbers = iter(together.tolist())
        coh = None
        if phase is not None:
            dot, gg, mm = next(numbers), next(numbers), next(numbers)
            coh = _ratio(dot, math.sqrt(gg) * math.sqrt(mm))
            coh = None if coh is None else max(-1.0, min(1.0, coh))
        step2, size2 = next(numbers), next(numbers)
        adam2 = next(numbers) if adams is not None else None
        flux2 = _ratio(step2, size2)
        return OrbitalReading(
            drift=None if coh is None else math.acos(coh),
            coh=coh,
            flux=None if flux2 is None else math.sqrt(flux2),
            e_ret=None if adam2 is None else _ratio(step2, adam2),
        )


def _adamw_square(state: dict[str, Any], old: Tensor, options: dict[str, Any]) -> Tensor | None:
    """|step|^2 of AdamW from this state, a scalar; None where the state is not Adam's."""
    betas = options.get("betas", ())
    if not {"exp_avg", "exp_avg_sq", "step"} <= state.keys() or len(betas) != 2:
        return None
    t = state["step"]
    if not isinstance(t, Tensor) or t.device.type == "cpu":
        t = float(t)
    # m / (sqrt(v) / r + eps) = r m / (sqrt(v) + r eps) saves a pass over the tensor.
    root = (1 - betas[1] ** t) ** 0.5
    step = state["exp_avg_sq"].sqrt().add_(options["eps"] * root)
    torch.div(state["exp_avg"], step, out=step)
    rate = root * options["lr"] / (1 - betas[0] ** t)
    # Adam with an L2 penalty has it in the gradient already.
    if options["weight_decay"] != 0 and options.get("decoupled_weight_decay", True):
        step.mul_(rate).add_(old, alpha=options["lr"] * options["weight_decay"])
        rate = 1.0
    return _square(step) * rate**2


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1).float(), b.reshape(-1).float())


def _square(a: Tensor) -> Tensor:
    return _dot(a, a)


def _total(parts: list[Tensor]) -> Tensor | None:
    """Sum rows of per-tensor sums in float64 where the device has it."""
    if not parts:
        return None
    stacked = torch.stack([part.to(parts[0].device) for part in parts])
    return stacked.sum(0) if stacked.device.type == "mps" else stacked.double().sum(0)


def _ratio(above: float, below: float) -> float | None:
    ratio = above / below if below > 0 else math.nan
    return ratio if math.isfinite(ratio) else None
