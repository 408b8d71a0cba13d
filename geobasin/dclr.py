"""DCLR: Adam whose rate, one per tensor, is steered by the coherence of gradient and momentum.

The slow phase Psi is the momentum m_{t-1}, the fast phase Omega the gradient g_t. Their agreement
drives a leaky integrator h, and exp(h) multiplies the tensor's rate, as a loop filter drives the
oscillator of a phase-locked loop. For each tensor, at step t:

1. from the second step, A = mean(clamp(g m_{t-1} / vhat_{t-1}, -1, 1)), where a coordinate with
   vhat_{t-1} = 0 counts 0
2. h <- clamp(rho h + kappa A, -H, H)
3. m <- beta1 m + (1 - beta1) g;   v <- beta2 v + (1 - beta2) g^2
4. u = ((1 - lead) m + lead (beta1 m + (1 - beta1) g)) / (1 - beta1^t) / (sqrt(vhat) + eps)
5. theta <- theta (1 - lr wd) - lr exp(h) u

with vhat_t = v_t / (1 - beta2^t). Line 4 at ``lead=1`` is Nesterov's look-ahead (Dozat, 2016), and
``coupling=0, lead=0`` is AdamW (Loshchilov and Hutter, 2019). A rate that follows the sign of
g_t m_{t-1} goes back to the delta-bar-delta rule (Jacobs, 1988) and hypergradient descent (Baydin
and others, 2018). The nearest relative is hindsight-guided momentum (Sarkar, 2025), which
multiplies Adam's rate by the exponential of a smoothed cosine of g_t and m_{t-1}; here agreement is
measured coordinate by coordinate on Adam's own scale, and h is bounded.

:class:`geobasin.dclr_reference.ReferenceDCLR` follows the lines one by one; this module is the
quick form.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from geobasin.dclr_update import advance, alike, gain_dtype, restore_exactly
from geobasin.errors import GeoBasinError
from geobasin.orbital import OrbitalCoupler, OrbitalReading

__all__ = ["DCLR", "OrbitalCoupler", "OrbitalReading"]

OPTIONS = (
    "lr",
    "betas",
    "eps",
    "weight_decay",
    "coupling",
    "memory",
    "bound",
    "lead",
    "refresh",
    "maximize",
    "foreach",
    "capturable",
)


class DCLR(Optimizer):
    """AdamW with a phase lead and one coherence-driven rate per tensor (module docstring).

    The arguments are checked, and a parameter group may override any of them. A parameter without
    a gradient is skipped: nothing of its state moves. A step reads nothing back from the device.

    Args:
        params: parameters, named parameters or parameter groups, real and dense, of any shape.
        lr: learning rate, >= 0. A tensor needs ``capturable=True``.
        betas: decay of the momentum and of the squared gradient, both in [0, 1).
        eps: added to the root of the second moment, >= 0.
        weight_decay: decoupled weight decay (a fraction per unit of lr), >= 0.
        coupling: kappa, the weight of one step's coherence in h; 0 leaves every rate alone.
        memory: rho, what h keeps from step to step, in [0, 1].
        bound: H, the largest |h|, >= 0: a tensor's rate stays in [lr exp(-H), lr exp(H)].
        lead: the phase lead, in [0, 1]; 0 is Adam's momentum, 1 is Nesterov's.
        refresh: measure A every so many steps, >= 1. In between h rests, and the next measure
            counts for all of them: rho^n h + kappa (1 + rho + ... + rho^(n-1)) A.
        maximize: climb instead of descend.
        foreach: take an operation for all tensors at a time (True) or all operations for a tensor
            at a time (False), which reads every h on the host; None takes what is quicker: False
            for tensors on a CPU, else True.
        capturable: keep the step counts on the device, for CUDA graphs. A is then computed at every
            step, so that ``refresh`` saves no time.

    Raises:
        GeoBasinError: an argument is out of its range, or, in :meth:`step`, a gradient is sparse or
            a parameter is complex.
    """

    # Whether h is set from outside, not by the coupler.
    _prescribed = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
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
        foreach: bool | None = None,
        capturable: bool = False,
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
            "foreach": foreach,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, with options of their own where given.

        Args:
            param_group: ``{"params": ..., option: value, ...}``.

        Raises:
            GeoBasinError: an option is out of its range.
        """
        check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name in OPTIONS:
                group.setdefault(name, self.defaults[name])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state: one of DCLR's, or of torch's AdamW (then every h starts at 0).

        Args:
            state_dict: what :meth:`state_dict` gave, for parameters of the same shapes and order.
        """
        super().load_state_dict(state_dict)
        restore_exactly(self, state_dict, "log_gain")

    def gains(self) -> list[Tensor | None]:
        """Give what multiplies each tensor's rate at present.

        Returns:
            For each parameter, in order: exp(h), a scalar tensor on its device in
            [exp(-H), exp(H)]; None where it has not been stepped yet.
        """
        logs = (
            self.state.get(p, {}).get("log_gain")
            for group in self.param_groups
            for p in group["params"]
        )
        return [None if log is None else log.exp() for log in logs]

    def _init_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        log_gains: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        # torch.compile knows an optimiser's _init_group by this name and runs it untraced.
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.layout != torch.strided or p.is_complex():
                kind = (
                    "sparse gradients" if p.grad.layout != torch.strided else "complex parameters"
                )
                raise GeoBasinError(f"DCLR cannot use {kind} (a tensor of shape {tuple(p.shape)})")
            state = self.state[p]
            if "step" not in state:
                home = p.device if group["capturable"] else torch.device("cpu")
                state["step"] = torch.zeros((), dtype=torch.float32, device=home)
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            if "log_gain" not in state:
                state["log_gain"] = torch.zeros((), dtype=gain_dtype(p), device=p.device)
            params.append(p)
            grads.append(p.grad)
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            log_gains.append(state["log_gain"])
            steps.append(state["step"])

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step.

        Args:
            closure: evaluates the model anew and returns its loss; run with gradients enabled.

        Returns:
            The closure's loss, or None without one.

        Raises:
            GeoBasinError: a gradient is sparse, or a parameter is complex.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params: list[Tensor] = []
            grads: list[Tensor] = []
            exp_avgs: list[Tensor] = []
            exp_avg_sqs: list[Tensor] = []
            log_gains: list[Tensor] = []
            steps: list[Tensor] = []
            self._init_group(group, params, grads, exp_avgs, exp_avg_sqs, log_gains, steps)
            if not params:
                continue
            torch._foreach_add_(steps, 1)
            # Counts that are not capturable live on the host; reading them waits for nothing.
            counts = steps if group["capturable"] else torch.stack(steps).tolist()
            # Nothing steers the rates of a DCLR without coupling: it need not read its gains.
            steered = self._prescribed or group["coupling"] != 0
            for part in alike(params):
                gradients = [grads[i] for i in part]
                if group["maximize"]:
                    gradients = list(torch._foreach_neg(gradients))
                advance(
                    group,
                    [params[i] for i in part],
                    gradients,
                    [exp_avgs[i] for i in part],
                    [exp_avg_sqs[i] for i in part],
                    [log_gains[i] for i in part] if steered else None,
                    [counts[i] for i in part],
                    measure=not self._prescribed,
                )
        return loss


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that DCLR has no meaning for.

    Args:
        options: every keyword of :class:`DCLR` with its value.

    Raises:
        GeoBasinError: one of them is out of its range.
    """
    beta1, beta2 = options["betas"]
    lr, finite = options["lr"], math.isfinite
    whole = isinstance(options["refresh"], int) and not isinstance(options["refresh"], bool)
    rules = {
        "lr must be >= 0": isinstance(lr, Tensor) or (finite(lr) and lr >= 0),
        "a tensor as lr needs capturable=True": not isinstance(lr, Tensor) or options["capturable"],
        "betas must lie in [0, 1)": 0 <= beta1 < 1 and 0 <= beta2 < 1,
        "eps must be >= 0": finite(options["eps"]) and options["eps"] >= 0,
        "weight_decay must be >= 0": finite(options["weight_decay"])
        and options["weight_decay"] >= 0,
        "coupling must be finite": finite(options["coupling"]),
        "memory must lie in [0, 1]": 0 <= options["memory"] <= 1,
        "bound must be >= 0": finite(options["bound"]) and options["bound"] >= 0,
        "lead must lie in [0, 1]": 0 <= options["lead"] <= 1,
        "refresh must be a whole number >= 1": whole and options["refresh"] >= 1,
        "foreach must be True, False or None": options["foreach"] in (None, True, False),
    }
    for rule, kept in rules.items():
        if not kept:
            name = next(key for key in options if key in rule.split())
            raise GeoBasinError(f"DCLR: {rule}, not {options[name]}")
