"""The arithmetic of a DCLR step on lists of tensors: the quick form of the lines in dclr.py."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def advance(
    group: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor] | None,
    counts: list[Any],
    *,
    measure: bool,
) -> None:
    """Move parameters and state by one step, in place: lines 1 to 5 of :mod:`geobasin.dclr`.

    Args:
        group: the parameter group's options.
        params: parameters of one device and dtype, any shapes.
        grads: their gradients, of the same shapes (of the objective that is to sink).
        exp_avgs: m, likewise.
        exp_avg_sqs: v, likewise.
        log_gains: h, a scalar for each; None where every gain is 1.
        counts: t, this step's number for each: floats, or scalars on the device where the group is
            capturable.
        measure: whether h is turned by the coherence (lines 1 and 2) or taken as it stands.
    """
    columns = params, grads, exp_avgs, exp_avg_sqs, counts
    # A CPU's step is bound by memory: what one operation leaves in the cache, the next should find.
    together = params[0].device.type != "cpu" if group["foreach"] is None else group["foreach"]
    # torch.compile takes every group for a capturable one.
    if group["capturable"] or together:
        if measure and log_gains is not None:
            couple = _couple_on_device if group["capturable"] else _couple_together
            couple(group, grads, exp_avgs, exp_avg_sqs, log_gains, counts)
        _advance_together(group, *columns, log_gains)
        return
    for i, (p, g, m, v, t) in enumerate(zip(*columns, strict=True)):
        gain = 1.0
        if log_gains is not None:
            if measure and due(t, group):
                _couple_one(group, g, m, v, log_gains[i], t)
            gain = math.exp(log_gains[i].item())
        _advance_one(group, p, g, m, v, t, gain)


def _advance_together(
    group: dict[str, Any],
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    counts: list[Any],
    log_gains: list[Tensor] | None,
) -> None:
    """Lines 3 to 5, an operation for all tensors at a time."""
    beta1, beta2 = group["betas"]
    lr, decay, lead = group["lr"], group["weight_decay"], group["lead"]
    if decay != 0:
        torch._foreach_mul_(params, 1 - lr * decay)
    torch._foreach_lerp_(exp_avgs, grads, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2)

    # m / (sqrt(v) / r + eps) = r m / (sqrt(v) + r eps) saves a pass over the tensors.
    roots = [c**0.5 for c in _bias(counts, beta2)]
    rates = [-lr * r / c for r, c in zip(roots, _bias(counts, beta1), strict=True)]
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_add_(denominators, [group["eps"] * r for r in roots])
    updates = exp_avgs
    if lead != 0:
        updates = list(torch._foreach_lerp(exp_avgs, grads, lead * (1 - beta1)))
    if log_gains is not None:
        updates = list(torch._foreach_mul(updates, torch._foreach_exp(log_gains)))
    if group["capturable"]:
        torch._foreach_addcdiv_(params, torch._foreach_mul(updates, rates), denominators)
    else:
        torch._foreach_addcdiv_(params, updates, denominators, rates)


def _advance_one(
    group: dict[str, Any], p: Tensor, g: Tensor, m: Tensor, v: Tensor, t: float, gain: float
) -> None:
    """Lines 3 to 5 for one tensor whose numbers the host knows."""
    (beta1, beta2), lr = group["betas"], group["lr"]
    if group["weight_decay"] != 0:
        p.mul_(1 - lr * group["weight_decay"])
    m.lerp_(g, 1 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
    root = (1 - beta2**t) ** 0.5
    denominator = v.sqrt().add_(group["eps"] * root)
    update = torch.lerp(m, g, group["lead"] * (1 - beta1)) if group["lead"] != 0 else m
    p.addcdiv_(update, denominator, value=-lr * gain * root / (1 - beta1**t))


def due(t: Any, group: dict[str, Any]) -> Any:
    """Tell whether a step measures the coherence.

    Args:
        t: its number, a float or a tensor on the device.
        group: the parameter group's options.

    Returns:
        A bool, or a tensor of them where t is a tensor.
    """
    return (t >= 2) & ((t - 2) % group["refresh"] == 0)


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
) -> Tensor:
    """Measure the coherence: line 1.

    Args:
        beta2: decay of the squared gradient.
        grads: gradients g_t of one device and dtype, any shapes.
        exp_avgs: m_{t-1}, of the same shapes.
        exp_avg_sqs: v_{t-1}, likewise.
        counts: t, as in :func:`advance`, each >= 2.

    Returns:
        A of each tensor, [tensors], of h's dtype, in [-1, 1].
    """
    phases = torch._foreach_mul(grads, exp_avgs)
    torch._foreach_div_(phases, exp_avg_sqs)
    # clamp(c x, -1, 1) = c clamp(x, -1/c, 1/c) saves a pass over the tensors.
    corrections = _bias(counts, beta2, back=1)
    torch._foreach_clamp_min_(phases, [-1 / c for c in corrections])
    torch._foreach_clamp_max_(phases, [1 / c for c in corrections])
    # 0/0, a coordinate that has seen no gradient, is the NaN that nansum counts as 0.
    sums = [phase.nansum(dtype=gain_dtype(phase)) for phase in phases]
    scales = [c / max(g.numel(), 1) for c, g in zip(corrections, grads, strict=True)]
    return torch.stack(torch._foreach_mul(sums, scales))


def _couple_one(
    group: dict[str, Any], g: Tensor, m: Tensor, v: Tensor, h: Tensor, t: float
) -> None:
    """Lines 1 and 2 for one tensor whose numbers the host knows."""
    correction = 1 - group["betas"][1] ** (t - 1)
    limit, bound = 1 / correction, group["bound"]
    total = (g * m).div_(v).clamp_(-limit, limit).nansum(dtype=h.dtype).item()
    keep, weight = held(group["memory"], group["coupling"], group["refresh"])
    turned = keep * h.item() + weight * correction * total / max(g.numel(), 1)
    h.fill_(max(-bound, min(bound, turned)))


def _couple_together(
    group: dict[str, Any],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor],
    counts: list[float],
) -> None:
    """Lines 1 and 2 for the tensors whose turn it is; the others are not even measured."""
    turn = [i for i, t in enumerate(counts) if due(t, group)]
    if not turn:
        return
    hs = [log_gains[i] for i in turn]
    aligned = alignment(
        group["betas"][1],
        [grads[i] for i in turn],
        [exp_avgs[i] for i in turn],
        [exp_avg_sqs[i] for i in turn],
        [counts[i] for i in turn],
    )
    turned = integrate(group, torch.stack(hs), aligned)
    torch._foreach_copy_(hs, list(turned.unbind()))


def _couple_on_device(
    group: dict[str, Any],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    log_gains: list[Tensor],
    counts: list[Tensor],
) -> None:
    """Lines 1 and 2 where the host must not know t: all are measured, only those due change."""
    old, t = torch.stack(log_gains), torch.stack(counts)
    aligned = alignment(group["betas"][1], grads, exp_avgs, exp_avg_sqs, counts)
    turned = torch.where(due(t, group), integrate(group, old, aligned), old)
    torch._foreach_copy_(log_gains, list(turned.unbind()))


def integrate(group: dict[str, Any], log_gains: Tensor, aligned: Tensor) -> Tensor:
    """Turn h by measured coherences: line 2.

    Args:
        group: a parameter group's memory, coupling, refresh and bound.
        log_gains: h, of any shape.
        aligned: A, of the same shape.

    Returns:
        The new h.
    """
    keep, weight = held(group["memory"], group["coupling"], group["refresh"])
    return (log_gains * keep).add_(aligned, alpha=weight).clamp_(-group["bound"], group["bound"])


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


def alike(tensors: list[Tensor]) -> list[list[int]]:
    """Sort tensors by device and dtype.

    Args:
        tensors: of any shapes, devices and dtypes.

    Returns:
        Lists of indices into ``tensors``, which together name each of them once.
    """
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for i, tensor in enumerate(tensors):
        kinds.setdefault((tensor.device, tensor.dtype), []).append(i)
    return list(kinds.values())


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
