"""What the coupler contributes: DCLR with its gains read from a table.

A run of DCLR leaves a trace (:mod:`geobasin.dclr_trace`): h of every tensor at every step, and A.
:class:`PrescribedGains` takes DCLR's step with h read from such a table in place of the coupler, so
that an ablation is a schedule. What it changes tells what the gains owe to the coupler:

- replay: ``trace.log_gains`` itself, of this or another seed;
- :func:`mean_rate`: one gain for all tensors and steps;
- :func:`static_gains`: every tensor keeps its mean gain;
- :func:`shuffle_in_time`: every step gets the gains of another;
- :func:`permute_tensors`: every tensor gets the gains of another;
- :func:`shuffle_coherence`: A is shuffled in time ahead of the integrator.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from geobasin.dclr import DCLR
from geobasin.dclr_trace import GainTrace
from geobasin.dclr_update import integrate
from geobasin.errors import GeoBasinError


class PrescribedGains(DCLR):
    """DCLR with its gains read from a table instead of the coupler; the lead stays.

    Row n of the table belongs to the n-th call of :meth:`step`, column j to the j-th parameter in
    the order of the groups. The table is not part of the state dict; the position in it is.

    Args:
        params: parameters, named parameters or parameter groups.
        log_gains: h, [steps, tensors], finite; exp(h) multiplies the tensor's rate.
        lr: learning rate, >= 0.
        betas: decay of the momentum and of the squared gradient, both in [0, 1).
        eps: added to the root of the second moment, >= 0.
        weight_decay: decoupled weight decay, >= 0.
        lead: the phase lead, in [0, 1].
        maximize: climb instead of descend.
        capturable: keep the step counts on the device. The row is still chosen on the host, so
            that a CUDA graph would repeat one row.

    Raises:
        GeoBasinError: the table does not fit the parameters or holds a number that is not finite,
            an argument is out of its range, or, in :meth:`step`, the table is at its end.
    """

    _prescribed = True

    def __init__(
        self,
        params: ParamsT,
        log_gains: Tensor,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        lead: float = 1.0,
        *,
        maximize: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            coupling=0.0,
            lead=lead,
            maximize=maximize,
            capturable=capturable,
        )
        tensors = [p for group in self.param_groups for p in group["params"]]
        if log_gains.dim() != 2 or log_gains.shape[1] != len(tensors):
            raise GeoBasinError(
                f"a table of gains must have the shape [steps, {len(tensors)}], a column for each "
                f"tensor, not {list(log_gains.shape)}"
            )
        if not log_gains.isfinite().all():
            raise GeoBasinError("a table of gains holds a number that is not finite; give h itself")
        self._table = log_gains.detach().to(tensors[0].device, copy=True)
        for group in self.param_groups:
            group["position"] = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("position", 0)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, which only the constructor may do: the table has no columns for more.

        Args:
            param_group: ``{"params": ..., option: value, ...}``.

        Raises:
            GeoBasinError: the table is there already, or an option is out of its range.
        """
        if hasattr(self, "_table"):
            raise GeoBasinError("a table of gains has no columns for new parameters; make it anew")
        super().add_param_group(param_group)

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
        row = group["position"]
        if row >= len(self._table):
            raise GeoBasinError(
                f"the table of gains ends after {len(self._table)} steps; take a longer one"
            )
        super()._init_group(group, params, grads, exp_avgs, exp_avg_sqs, log_gains, steps)
        group["position"] = row + 1
        groups = self.param_groups
        first = sum(len(g["params"]) for g in groups[: [id(g) for g in groups].index(id(group))])
        gains = self._table[row].unbind()
        for h, place in zip(
            log_gains,
            (first + i for i, p in enumerate(group["params"]) if p.grad is not None),
            strict=True,
        ):
            h.copy_(gains[place])


def mean_rate(trace: GainTrace, sizes: Tensor | None = None) -> Tensor:
    """One gain for all tensors and steps: the mean of exp(h).

    Args:
        trace: the recorded run.
        sizes: weights of the tensors, [tensors], as their numbers of elements; None counts a tensor
            as one, whatever its size.

    Returns:
        Log gains, [steps, tensors], all alike.
    """
    gains = trace.log_gains.double().exp()
    weights = torch.ones(gains.shape[1]) if sizes is None else sizes
    weights = weights.to(gains) / weights.sum()
    mean = (gains.mean(dim=0) * weights).sum().log()
    return torch.full_like(trace.log_gains, mean.item())


def static_gains(trace: GainTrace) -> Tensor:
    """A gain for each tensor, the same at all steps: its mean of exp(h).

    Args:
        trace: the recorded run.

    Returns:
        Log gains, [steps, tensors], every row the same.
    """
    means = trace.log_gains.double().exp().mean(dim=0).log()
    return means.to(trace.log_gains).expand_as(trace.log_gains).clone()


def shuffle_in_time(trace: GainTrace, seed: int) -> Tensor:
    """Give every step the gains of another step: the rows of h, permuted.

    Args:
        trace: the recorded run.
        seed: chooses the permutation.

    Returns:
        Log gains, [steps, tensors].
    """
    return trace.log_gains[_permutation(len(trace.log_gains), seed)]


def permute_tensors(trace: GainTrace, seed: int) -> Tensor:
    """Give every tensor the gains of another: the columns of h, permuted.

    Args:
        trace: the recorded run.
        seed: chooses the permutation; with two tensors or more it is not the identity.

    Returns:
        Log gains, [steps, tensors].
    """
    tensors = trace.log_gains.shape[1]
    return trace.log_gains[:, _permutation(tensors, seed)]


def shuffle_coherence(
    trace: GainTrace, memory: float, coupling: float, bound: float, seed: int, refresh: int = 1
) -> Tensor:
    """Shuffle A in time and integrate it anew, by line 2 of :mod:`geobasin.dclr`.

    The measured A is permuted, so that this is exact where the bound clips h too. A step's A of all
    tensors stay together, and steps at which none was measured stay where they are.

    Args:
        trace: the recorded run.
        memory: rho of that run, in [0, 1].
        coupling: its kappa.
        bound: its H, >= 0.
        seed: chooses the permutation.
        refresh: its refresh, >= 1.

    Returns:
        Log gains, [steps, tensors].
    """
    coherence = trace.coherence.clone()
    measured = (~coherence.isnan()).any(dim=1).nonzero().flatten()
    coherence[measured] = coherence[measured[_permutation(len(measured), seed)]]
    return integrate_coherence(coherence, memory, coupling, bound, refresh)


def integrate_coherence(
    coherence: Tensor, memory: float, coupling: float, bound: float, refresh: int = 1
) -> Tensor:
    """Run the leaky integrator over measured coherences, from h = 0: line 2, step by step.

    Args:
        coherence: A, [steps, tensors]; h rests where it is NaN.
        memory: rho, in [0, 1].
        coupling: kappa.
        bound: H, >= 0.
        refresh: how many steps one measure counts for, >= 1.

    Returns:
        Log gains h, [steps, tensors]; of a recorded run's own A, its own h but for rounding.
    """
    options = {"memory": memory, "coupling": coupling, "bound": bound, "refresh": refresh}
    h = torch.zeros_like(coherence[0])
    rows = []
    for row in coherence:
        h = torch.where(row.isnan(), h, integrate(options, h, row))
        rows.append(h)
    return torch.stack(rows)


def _permutation(length: int, seed: int) -> Tensor:
    """Choose a permutation that is not the identity where there is another."""
    generator = torch.Generator().manual_seed(seed)
    identity = torch.arange(length)
    while True:
        order = torch.randperm(length, generator=generator)
        if length < 2 or not torch.equal(order, identity):
            return order
