"""The arithmetic of a DCLR step on lists of tensors: the quick form of the lines in dclr.py."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# On a CPU a step is bound by memory: one chunk's tensors should stay in the cache.
_CACHE_ELEMENTS = 1 << 16


def advance(
    group: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor] | None,
    counts: list[Any],
) -> None:
    """Move parameters and moments by one step, in place: lines 3 to 5 of :mod:`geobasin.dclr`.

    Args:
        group: the parameter group's options.
        params: parameters of one device and dtype, any shapes.
        grads: their gradients, of the same shapes (of the objective that is to sink).
        exp_avgs: m, likewise.
        exp_avg_sqs: v, likewise.
        log_gains: h, a scalar for each; None where every gain is 1.
        counts: t, this step's number for each: floats, or scalars on the device where the group is
            capturable.
    """
    beta1, beta2 = group["betas"]
    lr, decay, lead = group["lr"], group["weight_decay"], group["lead"]
    if decay != 0:
        torch._foreach_mul_(params, 1 - lr * decay)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)

    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, [c**0.5 for c in _bias(counts, beta2)])
    torch._foreach_add_(denominators, group["eps"])
    updates = exp_avgs
    if lead != 0:
        updates = list(torch._foreach_lerp(exp_avgs, grads, lead * (1 - beta1)))
    if log_gains is not None:
        updates = list(torch._foreach_mul(updates, torch._foreach_exp(log_gains)))
    rates = [-lr / c for c in _bias(counts, beta1)]
    if group["capturable"]:
        torch._foreach_addcdiv_(params, torch._foreach_mul(updates, rates), denominators)
    else:
        torch._foreach_addcdiv_(params, updates, denominators, rates)


def couple(
    group: dict[str, Any],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor],
    counts: list[Any],
) -> None:
    """Measure the coherence and turn h by it, in place: lines 1 and 2.

    Args:
        group: the parameter group's options.
        grads: gradients g_t of one device and dtype, any shapes.
        exp_avgs: m_{t-1}, of the same shapes.
        exp_avg_sqs: v_{t-1}, likewise.
        log_gains: h, a scalar for each.
        counts: t, as in :func:`advance`.
    """
    on = _couple_on_device if group["capturable"] else _couple_on_host
    on(group, grads, exp_avgs, exp_avg_sqs, log_gains, counts)


def _bias(counts: list[Any], beta: float, back: int = 0) -> list[Any]:
    """1 - beta^(t - back) for every count t, as floats or as scalars on the device."""
    if not isinstance(counts[0], Tensor):
        return [1 - beta ** (t - back) for t in counts]
    # 1 - beta^t loses four digits in float32 where beta^t is near 1; expm1 keeps them.
    rate = math.log(beta) if beta > 0 else -math.inf
    return [-torch.expm1((t - back) * rate) for t in counts]


def alignment(
    beta2: float,
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    counts: list[Any],
) -> list[Tensor]:
    """Measure the coherence: line 1.

    Args:
        beta2: decay of the squared gradient.
        grads: gradients g_t of one device and dtype, any shapes.
        exp_avgs: m_{t-1}, of the same shapes.
        exp_avg_sqs: v_{t-1}, likewise.
        counts: t, as in :func:`advance`, each >= 2.

    Returns:
        A of each tensor, a scalar of h's dtype in [-1, 1].
    """
    corrections = _bias(counts, beta2, back=1)
    phases = torch._foreach_mul(grads, exp_avgs)
    torch._foreach_div_(phases, exp_avg_sqs)
    torch._foreach_mul_(phases, corrections)
    torch._foreach_clamp_min_(phases, -1.0)
    torch._foreach_clamp_max_(phases, 1.0)
    # 0/0, a coordinate that has seen no gradient, is the NaN that nansum counts as 0.
    sums = [phase.nansum(dtype=gain_dtype(phase)) for phase in phases]
    torch._foreach_mul_(sums, [1 / max(phase.numel(), 1) for phase in phases])
    return sums


def _couple_on_host(
    group: dict[str, Any],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor],
    counts: list[float],
) -> None:
    """Line 2 for the tensors whose turn it is; the others are not even measured."""
    due = [i for i, t in enumerate(counts) if t >= 2 and (t - 2) % group["refresh"] == 0]
    if not due:
        return
    hs = [log_gains[i] for i in due]
    aligned = alignment(
        group["betas"][1],
        [grads[i] for i in due],
        [exp_avgs[i] for i in due],
        [exp_avg_sqs[i] for i in due],
        [counts[i] for i in due],
    )
    integrate(group, hs, aligned)


def _couple_on_device(
    group: dict[str, Any],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor],
    counts: list[Tensor],
) -> None:
    """Line 2 where the host must not know t: every tensor is measured, only those due change."""
    fresh = [h.clone() for h in log_gains]
    aligned = alignment(group["betas"][1], grads, exp_avgs, exp_avg_sqs, counts)
    integrate(group, fresh, aligned)
    for h, new, t in zip(log_gains, fresh, counts, strict=True):
        due = (t >= 2) & (torch.remainder(t - 2, group["refresh"]) == 0)
        h.copy_(torch.where(due, new, h))


def integrate(group: dict[str, Any], log_gains: list[Tensor], aligned: list[Tensor]) -> None:
    """Turn h by measured coherences, in place: line 2.

    Args:
        group: a parameter group's memory, coupling, refresh and bound.
        log_gains: h, tensors of any shape.
        aligned: A, of the same shapes.
    """
    keep, weight = held(group["memory"], group["coupling"], group["refresh"])
    torch._foreach_mul_(log_gains, keep)
    torch._foreach_add_(log_gains, aligned, alpha=weight)
    torch._foreach_clamp_min_(log_gains, -group["bound"])
    torch._foreach_clamp_max_(log_gains, group["bound"])


def held(memory: float, coupling: float, steps: int) -> tuple[float, float]:
    """Fold ``steps`` turns of h <- rho h + kappa A, with A held still, into one turn.

    Args:
        memory: rho.
        coupling: kappa.
        steps: how many turns, >= 1.

    Returns:
        rho^n and kappa (1 + rho + ... + rho^(n-1)).
    """
    return memory**steps, coupling * sum(memory**i for i in range(steps))


def chunks(params: list[Tensor]) -> list[list[int]]:
    """Sort tensors into lists of one device and dtype, on a CPU a cacheful at a time.

    Args:
        params: tensors of any shapes, devices and dtypes.

    Returns:
        Lists of indices into ``params``, which together name each of them once.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[list[int]]] = {}
    sizes: dict[tuple[torch.device, torch.dtype], int] = {}
    for i, p in enumerate(params):
        kind = (p.device, p.dtype)
        lists = kinds.setdefault(kind, [[]])
        size = sizes.get(kind, 0) + p.numel()
        if p.device.type == "cpu" and lists[-1] and size > _CACHE_ELEMENTS:
            lists.append([])
            size = p.numel()
        lists[-1].append(i)
        sizes[kind] = size
    return [chunk for lists in kinds.values() for chunk in lists]


def gain_dtype(parameter: Tensor) -> torch.dtype:
    """Choose h's dtype: float64 for a float64 parameter, else float32 (bfloat16 is too coarse)."""
    return torch.float64 if parameter.dtype == torch.float64 else torch.float32


def restore_exactly(optimizer: Optimizer, state_dict: dict[str, Any], name: str) -> None:
    """Put back a state's scalars in a dtype fine enough, after torch's ``load_state_dict``.

    Torch casts what it loads to the parameter's dtype, and h in bfloat16 would jump.

    Args:
        optimizer: the optimiser that has just loaded ``state_dict``.
        state_dict: where the scalars come from, for the same parameters in the same order.
        name: of the scalar in each parameter's state; a state without it is left alone.
    """
    saved = (i for group in state_dict["param_groups"] for i in group["params"])
    ours = (p for group in optimizer.param_groups for p in group["params"])
    for index, parameter in zip(saved, ours, strict=True):
        entry = state_dict["state"].get(index, {})
        if name in entry:
            scalar = entry[name].detach().clone()
            optimizer.state[parameter][name] = scalar.to(
                device=parameter.device, dtype=gain_dtype(parameter)
            )
