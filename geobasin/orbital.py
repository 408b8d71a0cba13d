"""The Psi-Omega coupler as an observer: how gradient and momentum agree, and what a step moves.

Psi, the slow phase, is the momentum m_{t-1}; Omega, the fast one, is the gradient g_t. Momentum is
read before the step on purpose: m_t already holds g_t, so that pure noise would show a coherence
of sqrt((1 - beta1^2)) = sqrt(1 - 0.81) = 0.436 where there is none.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from geobasin.errors import GeoBasinError

# On a CPU the observer is bound by memory: what one block holds should stay near the processor.
# Elsewhere few large calls are quicker than many small ones.
_CPU_BLOCK = 1 << 18
_BLOCK = 1 << 25
_WIDE = (torch.float32, torch.float64)


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


@dataclass(frozen=True)
class _Watch:
    """Parameters of one group, device and dtype, their flat copies, and the group's options."""

    parameters: list[Tensor]
    before: list[Tensor]
    options: dict[str, Any]


class OrbitalCoupler:
    """Observe any optimiser of the Adam family, changing nothing.

    It reads ``exp_avg``, ``exp_avg_sq`` and ``step`` where the optimiser keeps them, as torch's and
    timm's Adam, AdamW, NAdam and their kin and :class:`geobasin.dclr.DCLR` do. Where it keeps none,
    as SGD, drift, coherence and E_ret are None. One step costs a copy of the parameters into memory
    that is kept for it, one pass over gradients and momenta, one over the parameters, one over both
    moments, and one read from the device (two where the optimiser counts its steps there).

    ::

        coupler = OrbitalCoupler(optimizer)
        loss.backward()
        reading = coupler.step()  # optimizer.step(), observed

    Args:
        optimizer: the optimiser to observe.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._watches: list[_Watch] | None = None
        self._phase: list[Tensor] = []
        self._memory: dict[tuple[int, torch.device, torch.dtype], list[Tensor]] = {}
        self._rooms: dict[tuple[torch.device, torch.dtype], Tensor] = {}

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
        self._watches = []
        gm: list[Tensor] = []
        gg: list[Tensor] = []
        mm: list[Tensor] = []
        state = self.optimizer.state
        for index, group in enumerate(self.optimizer.param_groups):
            # A scheduler may change the options between the step and the reading.
            options = {**group, "params": None}
            kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for p in group["params"]:
                kinds.setdefault((p.device, p.dtype), []).append(p)
            for kind, parameters in kinds.items():
                before = self._copy((index, *kind), parameters)
                self._watches.append(_Watch(parameters, before, options))
                phased = [p for p in parameters if p.grad is not None and _momentum(state, p)]
                gradients = [p.grad for p in phased if p.grad is not None]
                for g, m in _blocks(gradients, [state[p]["exp_avg"] for p in phased]):
                    dot = torch.dot(g, m)
                    gm.append(-dot if group.get("maximize") else dot)
                    gg.append(torch.dot(g, g))
                    mm.append(torch.dot(m, m))
        self._phase = [_total(part) for part in (gm, gg, mm) if part]

    @torch.no_grad()
    def after_step(self) -> OrbitalReading:
        """Compare with the parameters before the step.

        Returns:
            The step's reading.

        Raises:
            GeoBasinError: :meth:`before_step` was not called since the last reading.
        """
        if self._watches is None:
            raise GeoBasinError("OrbitalCoupler: call before_step() ahead of the step, then this")
        moved: list[Tensor] = []
        sizes: list[Tensor] = []
        free: list[Tensor] | None = []
        for watch in self._watches:
            for p, old in _blocks(watch.parameters, watch.before):
                step = torch.sub(p, old, out=self._room(p))
                moved.append(torch.dot(step, step))
                sizes.append(torch.dot(old, old))
            squares = self._adamw_squares(watch)
            free = None if free is None or squares is None else free + squares
        totals = [*self._phase, _total(moved), _total(sizes)]
        totals += [_total(free)] if free else []
        coherent = bool(self._phase)
        self._watches, self._phase = None, []
        numbers = iter(torch.stack([total.to(totals[0].device) for total in totals]).tolist())
        coh = None
        if coherent:
            dot, gg, mm = next(numbers), next(numbers), next(numbers)
            coh = _ratio(dot, math.sqrt(gg) * math.sqrt(mm))
            coh = None if coh is None else max(-1.0, min(1.0, coh))
        step2, size2 = next(numbers), next(numbers)
        flux2 = _ratio(step2, size2)
        return OrbitalReading(
            drift=None if coh is None else math.acos(coh),
            coh=coh,
            flux=None if flux2 is None else math.sqrt(flux2),
            e_ret=_ratio(step2, next(numbers)) if free else None,
        )

    def _copy(
        self, key: tuple[int, torch.device, torch.dtype], parameters: list[Tensor]
    ) -> list[Tensor]:
        """Flat copies, in memory that is kept: on a CPU fresh pages cost more than copying."""
        sizes = [p.numel() for p in parameters]
        before = self._memory.get(key)
        if before is None or [old.numel() for old in before] != sizes:
            memory = torch.empty(sum(sizes), device=key[1], dtype=key[2])
            before = self._memory[key] = list(memory.split(sizes))
        torch._foreach_copy_(before, [p.reshape(-1) for p in parameters])
        return before

    def _room(self, block: Tensor) -> Tensor:
        """Room for a block's arithmetic, kept like the copies."""
        key, size = (block.device, block.dtype), block.numel()
        room = self._rooms.get(key)
        if room is None or room.numel() < size:
            room = self._rooms[key] = torch.empty_like(block)
        return room[:size]

    def _adamw_squares(self, watch: _Watch) -> list[Tensor] | None:
        """|step|^2 of AdamW from the state after the step, in parts; None without Adam's state."""
        options = watch.options
        betas = options.get("betas", ())
        state = self.optimizer.state
        stepped = [i for i, p in enumerate(watch.parameters) if p.grad is not None]
        states = [state.get(watch.parameters[i], {}) for i in stepped]
        needed = {"exp_avg", "exp_avg_sq", "step"}
        if states and (len(betas) != 2 or not all(needed <= s.keys() for s in states)):
            return None
        rows: dict[float, list[int]] = {}
        for row, t in enumerate(_counts([s["step"] for s in states])):
            rows.setdefault(t, []).append(row)
        # Adam with an L2 penalty has it in the gradient already.
        decays = options.get("decoupled_weight_decay", True)
        squares: list[Tensor] = []
        for t, chosen in rows.items():
            decay = options["lr"] * options["weight_decay"] if decays else 0
            # m / (sqrt(v) / r + eps) = r m / (sqrt(v) + r eps) saves a pass over the tensor.
            root = (1 - betas[1] ** t) ** 0.5
            rate = root * options["lr"] / (1 - betas[0] ** t)
            columns = [[states[i][name] for i in chosen] for name in ("exp_avg_sq", "exp_avg")]
            if decay != 0:
                columns.append([watch.before[stepped[i]] for i in chosen])
            parts: list[Tensor] = []
            for v, m, *old in _blocks(*columns):
                step = torch.sqrt(v, out=self._room(v)).add_(options["eps"] * root)
                torch.div(m, step, out=step)
                for theta in old:
                    step.add_(theta, alpha=decay / rate)
                parts.append(torch.dot(step, step))
            squares.append(_total(parts) * rate**2)
        return squares


def _momentum(state: Mapping[Tensor, Any], p: Tensor) -> bool:
    return "exp_avg" in state.get(p, ())


def _blocks(*columns: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Walk through lists of tensors that match in shape, device and order, a flat block at a time.

    Large tensors are cut and small ones joined. A block is float32, or float64 where its tensors
    are.
    """
    if not columns[0]:
        return
    limit = _CPU_BLOCK if columns[0][0].device.type == "cpu" else _BLOCK
    waiting: list[tuple[Tensor, ...]] = []
    size = 0
    for row in zip(*columns, strict=True):
        flat = tuple(tensor if tensor.dim() == 1 else tensor.reshape(-1) for tensor in row)
        elements = flat[0].numel()
        if elements > limit:
            for parts in zip(*(tensor.split(limit) for tensor in flat), strict=True):
                yield _wide(parts)
        elif 16 * elements > limit:
            yield _wide(flat)
        else:
            waiting.append(flat)
            size += elements
            if size > limit:
                yield _joined(waiting)
                waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(rows: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return _wide(tuple(torch.cat(column) for column in zip(*rows, strict=True)))


def _wide(block: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(part if part.dtype in _WIDE else part.float() for part in block)


def _counts(steps: list[Any]) -> list[float]:
    """Step counts as numbers, with one read at most from a device that keeps them."""
    if steps and all(isinstance(step, Tensor) for step in steps):
        return list(torch.stack([step.reshape(()) for step in steps]).tolist())
    return [float(step) for step in steps]


def _total(parts: list[Tensor]) -> Tensor:
    """Sum scalars in float64 where the device has it."""
    stacked = torch.stack([part.to(parts[0].device) for part in parts])
    return stacked.sum() if stacked.device.type == "mps" else stacked.double().sum()


def _ratio(above: float, below: float) -> float | None:
    ratio = above / below if below > 0 else math.nan
    return ratio if math.isfinite(ratio) else None
