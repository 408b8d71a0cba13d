"""DCLR's nearest relatives, which neither torch nor timm has: HGM and AdaTAM.

Both watch the cosine of the gradient g_t and the momentum m_{t-1}, tensor by tensor, smooth it,

    c_t = g_t . m_{t-1} / (|g_t| |m_{t-1}|),    s_t = gamma s_{t-1} + (1 - gamma) c_t,

with s_0 = 0 and m_0 = 0; the cosine with a vector of no length counts 0. Hindsight-guided momentum
scales Adam's rate by it, torque-aware momentum what the gradient adds to the momentum.
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from geobasin.dclr_update import gain_dtype, restore_exactly
from geobasin.errors import GeoBasinError


class _CosineAdam(Optimizer):
    """Adam with decoupled weight decay and a smoothed cosine for each tensor, ``alignment``."""

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        smoothing: float,
        maximize: bool,
        **more: float,
    ) -> None:
        rules = {
            f"lr must be >= 0, not {lr}": lr >= 0,
            f"betas must lie in [0, 1), not {betas}": all(0 <= beta < 1 for beta in betas),
            f"eps must be > 0, not {eps}": eps > 0,
            f"weight_decay must be >= 0, not {weight_decay}": weight_decay >= 0,
            f"smoothing must lie in [0, 1], not {smoothing}": 0 <= smoothing <= 1,
        }
        for rule, kept in rules.items():
            if not kept:
                raise GeoBasinError(f"{type(self).__name__}: {rule}")
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "smoothing": smoothing, "maximize": maximize, **more})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state.

        Args:
            state_dict: what :meth:`state_dict` gave, for parameters of the same shapes and order.
        """
        super().load_state_dict(state_dict)
        restore_exactly(self, state_dict, "alignment")

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; a parameter without a gradient is skipped.

        Args:
            closure: evaluates the model anew and returns its loss; run with gradients enabled.

        Returns:
            The closure's loss, or None without one.

        Raises:
            GeoBasinError: a gradient is sparse, or a parameter is complex; nothing has moved.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._refuse_odd_tensors()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step_one(group, p, -p.grad if group["maximize"] else p.grad)
        return loss

    def _refuse_odd_tensors(self) -> None:
        for p in (p for group in self.param_groups for p in group["params"]):
            sparse = p.grad is not None and p.grad.layout != torch.strided
            if sparse or p.is_complex():
                kind = "sparse gradients" if sparse else "complex parameters"
                raise GeoBasinError(
                    f"{type(self).__name__} cannot use {kind} (a tensor of shape {tuple(p.shape)})"
                )

    def _step_one(self, group: dict[str, Any], p: Tensor, g: Tensor) -> None:
        state, (beta1, beta2) = self.state[p], group["betas"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(p)
            state["exp_avg_sq"] = torch.zeros_like(p)
            state["alignment"] = torch.zeros((), dtype=gain_dtype(p), device=p.device)
        state["step"] += 1
        t, m, v, s = state["step"].item(), state["exp_avg"], state["exp_avg_sq"], state["alignment"]
        length_g, length_m = (torch.linalg.vector_norm(x, dtype=s.dtype) for x in (g, m))
        lengths = length_g * length_m
        # Not + eps: it would hide the cosine of a tensor whose gradients are small.
        cosine = (g * m).sum(dtype=s.dtype) / lengths
        s.lerp_(torch.where(lengths > 0, cosine, 0.0), 1 - group["smoothing"])

        m.lerp_(self._admitted(group, g, s), 1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        update = m / (v / (1 - beta2**t)).sqrt_().add_(group["eps"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.add_(self._scaled(group, update, s), alpha=-group["lr"] / (1 - beta1**t))

    def _admitted(self, group: dict[str, Any], g: Tensor, s: Tensor) -> Tensor:
        """What the momentum takes in."""
        return g

    def _scaled(self, group: dict[str, Any], update: Tensor, s: Tensor) -> Tensor:
        """What the parameter moves by, per unit of rate."""
        return update


class HGM(_CosineAdam):
    """Hindsight-guided momentum: Adam at the rate lr exp(strength s_t).

    K. Sarkar, Hindsight-guided momentum (HGM) optimizer: an approach to adaptive learning rates,
    arXiv:2506.22479 (2025): theta_t = theta_{t-1} - lr exp(strength s_t) mhat_t / (sqrt(vhat_t) +
    eps), m_t, v_t and their corrections being Adam's. ``strength=0`` is AdamW.

    The rule was checked against a published restatement, not against the paper's own listing. Its
    constants could not be checked: ``smoothing`` and ``strength`` are our choice, as are one cosine
    per tensor (not one for the model) and weight decay decoupled as in AdamW.

    Args:
        params: parameters, named parameters or parameter groups, real and dense, of any shape.
        lr: learning rate, >= 0.
        betas: decay of the momentum and of the squared gradient, both in [0, 1).
        eps: added to the root of the second moment, > 0.
        weight_decay: decoupled weight decay (a fraction per unit of lr), >= 0.
        smoothing: gamma, what s keeps from step to step, in [0, 1].
        strength: the factor of s in the exponent.
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
        *,
        smoothing: float = 0.9,
        strength: float = 1.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            smoothing=smoothing,
            maximize=maximize,
            strength=strength,
        )

    def _scaled(self, group: dict[str, Any], update: Tensor, s: Tensor) -> Tensor:
        return update.mul_((group["strength"] * s).exp())


class AdaTAM(_CosineAdam):
    """Torque-aware momentum in its Adam form: a gradient counts by how it agrees with the past.

    P. Malviya, G. Mordido, A. Baratin, R. Babanezhad Harikandeh, G. K. Dziugaite, R. Pascanu and
    S. Chandar, Torque-aware momentum, arXiv:2412.18790 (2024): with the damping
    d_t = (1 + s_t) / 2 in [0, 1], what enters the momentum is (eps + d_t) g_t in place of g_t;
    v_t takes in g_t itself.

    The damping was checked against a published restatement and a public implementation, not
    against the paper's own listing. These write m_t = beta1 m_{t-1} + (eps + d_t) g_t; here it is
    beta1 m_{t-1} + (1 - beta1) (eps + d_t) g_t, with Adam's two bias corrections, so that d_t = 1
    would be AdamW and a rate means what it means there. The two differ by the factor 1 - beta1 in
    the rate and by the corrections. One cosine per tensor and decoupled weight decay are our
    choice too.

    Args:
        params: parameters, named parameters or parameter groups, real and dense, of any shape.
        lr: learning rate, >= 0.
        betas: decay of the momentum and of the squared gradient, both in [0, 1).
        eps: added to the root of the second moment and to d, > 0.
        weight_decay: decoupled weight decay (a fraction per unit of lr), >= 0.
        smoothing: gamma, what s keeps from step to step, in [0, 1]. At 1, s stays 0: every d is
            one half, which is AdamW at half the rate.
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
        *,
        smoothing: float = 0.9,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            smoothing=smoothing,
            maximize=maximize,
        )

    def _admitted(self, group: dict[str, Any], g: Tensor, s: Tensor) -> Tensor:
        return g * (group["eps"] + (1 + s) / 2).to(g.dtype)
