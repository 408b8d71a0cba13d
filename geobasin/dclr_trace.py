"""Record what DCLR's coupler does: h of every tensor at every step, and the coherence behind it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from geobasin.dclr import DCLR
from geobasin.dclr_update import alignment, alike, due
from geobasin.errors import GeoBasinError


@dataclass(frozen=True)
class GainTrace:
    """The gains of a run of DCLR, and what moved them.

    Attributes:
        log_gains: h after every step, [steps, tensors], in [-H, H]; 0 before a tensor's first step.
        coherence: A as measured at every step, [steps, tensors], in [-1, 1]; NaN where a tensor was
            not measured (its first step, between refreshes, a missing gradient).

    Both are float32, or float64 where a parameter is.
    """

    log_gains: Tensor
    coherence: Tensor


class GainRecorder:
    """Keep what the coupler of a DCLR does, step by step (made by :func:`record_gains`).

    It measures A anew, by the code of the step and from what the step is about to read, and changes
    nothing. The rows stay on the tensors' device until they are asked for.

    Args:
        optimizer: the optimiser to watch.
    """

    def __init__(self, optimizer: DCLR) -> None:
        self._log_gains: list[Tensor] = []
        self._coherence: list[Tensor] = []
        self._hooks = (
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        )

    def trace(self) -> GainTrace:
        """Give what has been recorded, the steps so far.

        Returns:
            The trace, on the CPU.

        Raises:
            GeoBasinError: no step was taken yet.
        """
        if not self._log_gains:
            raise GeoBasinError("no gains recorded: take a step of the optimiser first")
        return GainTrace(torch.stack(self._log_gains).cpu(), torch.stack(self._coherence).cpu())

    def stop(self) -> None:
        """Watch no longer; what was recorded stays."""
        for hook in self._hooks:
            hook.remove()

    @torch.no_grad()
    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(given is not None for given in (*args[1:], *kwargs.values())):
            raise GeoBasinError(
                "gains are recorded from gradients that stand before the step: "
                "call backward() yourself and step() without a closure"
            )
        unknown = torch.tensor(torch.nan)
        rows: list[Tensor] = []
        for group in optimizer.param_groups:
            params = group["params"]
            row = [unknown] * len(params)
            begun = [i for i, p in enumerate(params) if self._measurable(optimizer, p)]
            for part in alike([params[i] for i in begun]):
                places = [begun[i] for i in part]
                for i, measured in zip(
                    places, _measure(optimizer, group, [params[i] for i in places]), strict=True
                ):
                    row[i] = measured
            rows += row
        self._coherence.append(_as_row(rows))

    @staticmethod
    def _measurable(optimizer: Optimizer, parameter: Tensor) -> bool:
        return parameter.grad is not None and "exp_avg" in optimizer.state.get(parameter, {})

    @torch.no_grad()
    def _after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        zero = torch.zeros(())
        self._log_gains.append(
            _as_row(
                [
                    optimizer.state.get(p, {}).get("log_gain", zero)
                    for group in optimizer.param_groups
                    for p in group["params"]
                ]
            )
        )


def record_gains(optimizer: DCLR) -> GainRecorder:
    """Record the coupler of a DCLR from its next step on.

    ::

        recorder = record_gains(optimizer)
        ...  # train
        again = PrescribedGains(parameters, recorder.trace().log_gains, lr=...)

    Args:
        optimizer: the optimiser; it goes on as it would have.

    Returns:
        The recorder.
    """
    return GainRecorder(optimizer)


def _as_row(scalars: list[Tensor]) -> Tensor:
    home = next((s.device for s in scalars if s.device.type != "cpu"), torch.device("cpu"))
    fine = any(s.dtype == torch.float64 for s in scalars)
    dtype = torch.float64 if fine else torch.float32
    return torch.stack([s.to(device=home, dtype=dtype) for s in scalars])


def _measure(optimizer: Optimizer, group: dict[str, Any], params: list[Tensor]) -> list[Tensor]:
    """A of tensors that have a gradient and a past; NaN where the step will not measure it."""
    states = [optimizer.state[p] for p in params]
    grads = [p.grad for p in params if p.grad is not None]
    if group["maximize"]:
        grads = list(torch._foreach_neg(grads))
    # The step adds one to the count before it measures.
    steps = [state["step"] + 1 for state in states]
    counts: list[Any] = steps if group["capturable"] else torch.stack(steps).tolist()
    moments = [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]
    aligned = alignment(group["betas"][1], grads, *moments, counts)
    turns = [due(t, group) for t in counts]
    turn = torch.stack(turns) if group["capturable"] else torch.tensor(turns)
    return list(aligned.masked_fill(~turn.to(aligned.device), torch.nan).unbind())
