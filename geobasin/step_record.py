"""The record of one training step: its fields, their units and their ranges."""

import math
import sys
from dataclasses import asdict, dataclass
from typing import Any

from geobasin.errors import GeoBasinError
from geobasin.orbital import DEFINITIONS as ORBITAL

DEFINITIONS: dict[str, dict[str, str]] = {
    "mode": {"is": "RFT or BASE", "unit": "name", "range": "text"},
    "step": {"is": "number of the optimiser's step", "unit": "1", "range": "from 1"},
    **ORBITAL,
    "loss": {
        "is": "mean cross-entropy of the logits over the step's batch before the step, whichever "
        "loss is minimised",
        "unit": "nat",
        "range": "[0, inf)",
    },
    "acc": {
        "is": "share of the step's batch classified rightly before the step",
        "unit": "fraction",
        "range": "[0, 1]",
    },
    "J_step": {
        "is": "energy of the window that ends with this step, over its steps; null in between and "
        "where no window is long enough",
        "unit": "J",
        "range": "[0, inf)",
    },
    "J_source": {"is": "how the joules were had", "unit": "name", "range": "text"},
    "J_window_s": {"is": "length of that window", "unit": "s", "range": "[0, inf)"},
    "J_window_steps": {"is": "steps in that window", "unit": "1", "range": "from 1"},
    "J_idle_share": {
        "is": "share of the window's joules that the idle device would have spent",
        "unit": "1",
        "range": "[0, inf)",
    },
    "tempC": {"is": "temperature of the device", "unit": "deg C", "range": "any"},
    "t": {"is": "time since the run's first step began", "unit": "s", "range": "[0, inf)"},
    "val_loss": {
        "is": "mean cross-entropy of the logits over the validation images after this step; null "
        "where not asked",
        "unit": "nat",
        "range": "[0, inf)",
    },
    "val_acc": {
        "is": "share of the validation images classified rightly after this step; null likewise",
        "unit": "fraction",
        "range": "[0, 1]",
    },
}

_TEXT = {"mode", "J_source"}
_COUNTS = {"step", "J_window_steps"}
_ALWAYS = {"mode", "step", "J_source", "t"}
_LIMITS = {
    "step": (1, math.inf),
    "drift": (0, math.pi),
    "coh": (-1, 1),
    "acc": (0, 1),
    "val_acc": (0, 1),
    "tempC": (-math.inf, math.inf),
    "J_window_steps": (1, math.inf),
}


@dataclass(frozen=True)
class StepRecord:
    """One line of the log. :data:`DEFINITIONS` tells what each field is; None is "not known".

    Attributes:
        mode: ``RFT`` or ``BASE``.
        step: from 1.
        drift: rad.
        flux: ratio.
        E_ret: ratio.
        coh: ratio.
        loss: nat.
        acc: fraction.
        J_step: joule a step, over a window of steps.
        tempC: deg C.
        t: s since the first step began.
        J_source: how the joules were had.
        J_window_s: s.
        J_window_steps: steps.
        J_idle_share: ratio.
        val_loss: nat.
        val_acc: fraction.

    Raises:
        GeoBasinError: a value of the wrong type or outside its range, NaN or infinite.
    """

    mode: str
    step: int
    drift: float | None
    flux: float | None
    E_ret: float | None
    coh: float | None
    loss: float | None
    acc: float | None
    J_step: float | None
    tempC: float | None  # noqa: N815
    t: float
    J_source: str = "unavailable"
    J_window_s: float | None = None
    J_window_steps: int | None = None
    J_idle_share: float | None = None
    val_loss: float | None = None
    val_acc: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            _check(name, value)


def _check(name: str, value: Any) -> None:
    if value is None and name not in _ALWAYS:
        return
    if name in _TEXT:
        if not isinstance(value, str) or not value:
            raise GeoBasinError(f"{name} must be a name, not {value!r}")
        return
    kinds = (int,) if name in _COUNTS else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        kind = "whole number" if name in _COUNTS else "number"
        raise GeoBasinError(f"{name} must be a {kind}, not {value!r}")
    low, high = _LIMITS.get(name, (0, math.inf))
    if not (low <= value <= high and abs(value) <= sys.float_info.max):
        raise GeoBasinError(f"{name} = {value} lies outside [{low:g}, {high:g}]")
