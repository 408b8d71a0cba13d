"""The live run of chapter 6: telemetry of several runs, side by side, to scrub."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import traitlets

from geobasin.errors import GeoBasinError
from geobasin.figures.stage import energy_windows, telemetry_curves
from geobasin.figures.style import Plate
from geobasin.telemetry import StepRecord
from geobasin.widgets.base import LiveFigure, script, stylesheet

_FIELDS = ("drift", "coh", "flux", "loss")
_MOST_RUNS = 4


class RunFigure(LiveFigure):
    """Drift, coherence, flux, loss and joules of runs under one cursor.

    A long run is thinned to evenly chosen steps, and the page says so; values keep four digits.

    Args:
        records_by_mode: the records of one to four runs, by name, as ``load_stage(...).records``;
            None in a record is shown as "not measured".
        points: most steps to keep, at least 2.
        **traits: the step to begin with.

    Attributes:
        steps: those that are kept, rising.
        runs: for each run its name, ``source`` of the joules, and a list for each of drift (rad),
            coh, flux, loss (nat), joules (J a step, the mean of the window that holds the step) and
            ``window`` (its number of steps), one value a step, None where it is not known.
        logged: number of steps that the logs hold between them.
        step: the step that is read; the nearest kept one is shown.

    Raises:
        GeoBasinError: no run, more than four, a run without records, or too few points.
    """

    _esm: ClassVar[str] = script("curves.js", "run.js")
    _css: ClassVar[str] = stylesheet()

    steps = traitlets.List(traitlets.Int()).tag(sync=True)
    runs = traitlets.List(traitlets.Dict()).tag(sync=True)
    logged = traitlets.Int().tag(sync=True)
    step = traitlets.Int(1, min=1).tag(sync=True)

    def __init__(
        self,
        records_by_mode: Mapping[str, Sequence[StepRecord]],
        points: int = 300,
        **traits: Any,
    ) -> None:
        if not 1 <= len(records_by_mode) <= _MOST_RUNS or not all(records_by_mode.values()):
            raise GeoBasinError(
                f"RunFigure: give records of one to {_MOST_RUNS} runs, none of them empty"
            )
        if points < 2:
            raise GeoBasinError(f"RunFigure: points must be at least 2, not {points}")
        every = sorted({record.step for run in records_by_mode.values() for record in run})
        steps = _thinned(every, points)
        super().__init__(
            steps=steps,
            runs=[_run(name, records, steps) for name, records in records_by_mode.items()],
            logged=len(every),
            **{"step": steps[len(steps) // 2], **traits},
        )
        self._records = records_by_mode

    def still(self) -> Plate:
        """The curves of all runs, with every record.

        Returns:
            A drawing without the cursor.
        """
        return telemetry_curves(self._records)


def _thinned(steps: list[int], points: int) -> list[int]:
    """At most ``points`` of the steps, evenly by their place, the first and the last among them."""
    if len(steps) <= points:
        return steps
    last = len(steps) - 1
    return [steps[round(place * last / (points - 1))] for place in range(points)]


def _run(name: str, records: Sequence[StepRecord], steps: list[int]) -> dict[str, Any]:
    logged = {record.step: record for record in records}
    windows = dict(zip(logged, energy_windows(records), strict=True))

    def column(field: str, source: Mapping[int, StepRecord | None]) -> list[float | None]:
        return [_short(getattr(source.get(step), field, None)) for step in steps]

    return {
        "name": name,
        "source": next((end.J_source for end in windows.values() if end), "unavailable"),
        **{field: column(field, logged) for field in _FIELDS},
        "joules": column("J_step", windows),
        "window": column("J_window_steps", windows),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
