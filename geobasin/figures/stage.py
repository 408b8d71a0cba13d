"""Figures of chapters 5 and 6: the coupler at work, and the telemetry of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from numpy.typing import NDArray

from geobasin.errors import GeoBasinError
from geobasin.figures.style import Palette, Plate, axes
from geobasin.telemetry import StepRecord


class _Panel(NamedTuple):
    field: str
    label: str
    word: str
    reference: float | None


_PANELS = (
    _Panel("drift", "drift (rad)", "drift", math.pi / 2),
    _Panel("coh", "coherence", "coherence", 0.0),
    _Panel("flux", "flux", "flux", None),
    _Panel("loss", "loss (nat)", "loss", None),
    _Panel("J_step", "J a step", "joules a step", None),
)
_STYLES = ("-", "--", "-.", ":")


def coupler_at_work(
    losses: Mapping[str, Sequence[float]], gains: Mapping[str, Sequence[float]]
) -> Plate:
    """Draw the loss of several optimisers, and below it what the coupler did to the rates.

    Args:
        losses: training loss of each step in nat, above 0, by the optimiser's name.
        gains: exp(h) of each step, above 0, by the tensor's name.

    Returns:
        The figure.

    Raises:
        GeoBasinError: there is nothing to draw.
    """
    _require(losses, gains)
    smooth = {name: _running_mean(values) for name, values in losses.items()}

    def draw(palette: Palette) -> Figure:
        figure, (top, bottom) = axes(palette, rows=2, height=5.2)
        for (name, curve), style in zip(smooth.items(), _cycle(len(smooth)), strict=True):
            top.plot(range(1, len(curve) + 1), curve, style, label=name)
        top.set_yscale("log")
        top.set_ylabel("training loss (nat)")
        top.legend()
        for (name, values), style in zip(gains.items(), _cycle(len(gains)), strict=True):
            bottom.plot(range(1, len(values) + 1), values, style, label=name)
        bottom.axhline(1.0, color=palette.muted, linewidth=1.0)
        bottom.set_yscale("log", base=2)
        bottom.yaxis.set_major_formatter(ScalarFormatter())
        bottom.set_ylabel("gain exp(h)")
        bottom.set_xlabel("step")
        bottom.legend()
        return figure

    ends = ", ".join(f"{name} ends at {values[-1]:.3f}" for name, values in smooth.items())
    moves = ", ".join(
        f"{name} reaches {max(values):.2f} and ends at {values[-1]:.2f}"
        for name, values in gains.items()
    )
    return Plate(
        draw, f"Above, training loss against steps, smoothed: {ends}. Below, gains: {moves}."
    )


def telemetry_curves(records_by_mode: Mapping[str, Sequence[StepRecord]]) -> Plate:
    """Draw drift, coherence, flux, loss and, where they were measured, joules of runs.

    Args:
        records_by_mode: the records of each run, by its name; unknown values leave gaps.

    Returns:
        The figure.

    Raises:
        GeoBasinError: there is nothing to draw.
    """
    _require(records_by_mode)
    steps = {name: [r.step for r in records] for name, records in records_by_mode.items()}
    curves = {
        (name, panel.field): _known(records, panel.field)
        for name, records in records_by_mode.items()
        for panel in _PANELS
    }
    metered = any(not np.isnan(curves[name, _PANELS[-1].field]).all() for name in steps)
    drawn = _PANELS if metered else _PANELS[:-1]

    def draw(palette: Palette) -> Figure:
        figure, panels = axes(palette, rows=len(drawn), height=2.0 * len(drawn))
        for axis, panel in zip(panels, drawn, strict=True):
            if panel.reference is not None:
                axis.axhline(panel.reference, color=palette.muted, linewidth=1.0)
            for name, style in zip(steps, _cycle(len(steps)), strict=True):
                axis.plot(steps[name], curves[name, panel.field], style, label=name)
            axis.set_ylabel(panel.label)
            axis.set_xlim(0, max(told[-1] for told in steps.values()) + 1)
        panels[0].legend(ncols=2)
        panels[-1].set_xlabel("step")
        figure.align_ylabels(panels)
        return figure

    words = "; ".join(
        f"{name}, {len(steps[name])} lines to step {steps[name][-1]}: "
        + ", ".join(_words(panel.word, curves[name, panel.field]) for panel in _PANELS)
        for name in steps
    )
    return Plate(draw, f"Curves against the step. {words}.")


def energy_windows(records: Sequence[StepRecord]) -> list[StepRecord | None]:
    """Find the energy window each record lies in; a log tells its joules at the window's end.

    Args:
        records: of one run, by rising step.

    Returns:
        For each record the one with the joules of its window; None where no window holds it.
    """
    found: list[StepRecord | None] = []
    end, before = None, math.inf
    for record in reversed(records):
        if record.J_step is not None:
            end, before = record, record.step - (record.J_window_steps or 1)
        found.append(end if record.step > before else None)
    return found[::-1]


def _require(*groups: Mapping[str, Sequence[object]]) -> None:
    if any(not group or any(not values for values in group.values()) for group in groups):
        raise GeoBasinError("there is nothing to draw; give every curve at least one value")


def _cycle(count: int) -> list[str]:
    return [_STYLES[i % len(_STYLES)] for i in range(count)]


def _known(records: Sequence[StepRecord], field: str) -> NDArray[np.float64]:
    holders = energy_windows(records) if field == "J_step" else records
    values = [getattr(record, field, None) for record in holders]
    return np.array([math.nan if value is None else value for value in values])


def _words(word: str, values: NDArray[np.float64]) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return f"{word} not measured"
    if word == "loss":
        return f"{word} from {known[0]:.2f} to {known[-1]:.2f}"
    return f"mean {word} {known.mean():.3g}"


def _running_mean(values: Sequence[float], width: int = 15) -> list[float]:
    """Mean over the last ``width`` values, fewer at the start."""
    return [float(np.mean(values[max(0, end - width) : end])) for end in range(1, len(values) + 1)]
