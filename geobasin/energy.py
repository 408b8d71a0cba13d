"""Joules with their source: energy over windows of time, never over single steps.

A counter moves in jumps. A window is trusted only when it is at least ten jumps long, so that the
two ends together are wrong by a fifth at most; below that its joules are None. The energy of one
step is a window's energy over the window's steps.
"""

import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from geobasin.energy_nvml import open_nvml
from geobasin.energy_sources import (
    POWERCAP,
    THERMAL,
    EnergySource,
    Estimate,
    Rapl,
    Sample,
    Unavailable,
)
from geobasin.errors import GeoBasinError

_JUMPS = 10


@dataclass(frozen=True)
class EnergyWindow:
    """What was spent between two moments.

    Attributes:
        joules: energy in J, >= 0; None where it was not measured or the window is too short.
        seconds: the window's length.
        source: how the joules were had (see :class:`geobasin.energy_sources.EnergySource`).
        device: what spent them.
        idle_share: the share that the idle device would have spent in that time, >= 0; None where
            the idle power is not known.
        celsius: temperature at the window's end in deg C; None where it cannot be read.
        warming: change of temperature over the window in K; None likewise.
    """

    joules: float | None
    seconds: float
    source: str
    device: str
    idle_share: float | None
    celsius: float | None
    warming: float | None


class EnergyMeter:
    """Measure what a device spends.

    ::

        with EnergyMeter("cuda") as meter:
            train()
            window = meter.lap()  # joules, seconds, source

    Args:
        device: what computes. A CUDA device is measured by NVML (counter, else integrated power),
            a CPU by RAPL.
        source: takes the place of the device's own source.
        assumed_watts: where nothing can be measured, estimate with this power per busy core in W;
            None leaves the energy unmeasured.
        powercap: the root of the RAPL counters.
        thermal: the root of the thermal zones.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        source: EnergySource | None = None,
        *,
        assumed_watts: float | None = None,
        powercap: Path = POWERCAP,
        thermal: Path = THERMAL,
    ) -> None:
        self._device = torch.device(device)
        self.source = source or open_source(self._device, assumed_watts, powercap, thermal)
        self.idle_watts: float | None = None
        self._start: Sample | None = None
        self._first: Sample | None = None
        self._openings = 0
        self._seconds = 0.0
        self._joules: float | None = 0.0

    def __enter__(self) -> Self:
        """Open the first window."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the source."""
        self.close()

    @property
    def shortest(self) -> float:
        """The shortest window, in s, whose joules can be told."""
        return _JUMPS * self.source.resolution

    def start(self) -> None:
        """Open a window now, once the device has done what it was given.

        What was spent since the last :meth:`lap` counts in no window.
        """
        self._synchronise()
        self._start = self.source.read()
        self._first = self._first or self._start
        self._openings += 1

    def lap(self) -> EnergyWindow:
        """Close the window, once the device has done its work, and open the next at that moment.

        Returns:
            The window that closed.

        Raises:
            GeoBasinError: no window is open.
        """
        if self._start is None:
            raise GeoBasinError("EnergyMeter: call start() before lap()")
        self._synchronise()
        first, last = self._start, self.source.read()
        self._start = last
        seconds, joules = last.seconds - first.seconds, _spent(first, last)
        self._seconds += seconds
        self._joules = None if joules is None or self._joules is None else self._joules + joules
        return self._window(joules, seconds, self.shortest, first, last)

    def total(self) -> EnergyWindow:
        """Sum up all laps so far, those too short to be told by themselves among them.

        Returns:
            Joules and seconds of all windows together; the warming is from the first start to the
            last lap. Every :meth:`start` adds its own error, so that the sum must be as many times
            as long as one window.

        Raises:
            GeoBasinError: no window was ever opened.
        """
        if self._first is None or self._start is None:
            raise GeoBasinError("EnergyMeter: call start() before total()")
        least = self._openings * self.shortest
        return self._window(self._joules, self._seconds, least, self._first, self._start)

    def sums(self) -> dict[str, Any]:
        """Give the sums behind :meth:`total`, as JSON holds them, for :meth:`go_on`."""
        return {
            "source": self.source.name,
            "device": self.source.device,
            "joules": self._joules,
            "seconds": self._seconds,
            "openings": self._openings,
            "celsius": None if self._first is None else self._first.celsius,
        }

    def go_on(self, sums: Mapping[str, Any]) -> None:
        """Count what an interrupted run measured before this meter was there.

        Args:
            sums: from that run's meter. Joules of another source or device cannot be added to this
                one's, and leave the total unknown.
        """
        same = (sums["source"], sums["device"]) == (self.source.name, self.source.device)
        self._joules = sums["joules"] if same else None
        self._seconds, self._openings = float(sums["seconds"]), int(sums["openings"])
        self._first = Sample(0.0, None, sums["celsius"])

    def ripe(self) -> bool:
        """Tell whether the open window is long enough to be told; costs a look at the clock."""
        if self._start is None or self.source.name == "unavailable":
            return False
        return self.source.clock() - self._start.seconds >= self.shortest

    def measure_idle(self, seconds: float, wait: Callable[[float], None] = time.sleep) -> None:
        """Learn the idle power, ``idle_watts``, by waiting; it stays None where it cannot be told.

        Args:
            seconds: how long to wait, at least :attr:`shortest`.
            wait: lets that time pass.
        """
        self._synchronise()
        first = self.source.read()
        wait(seconds)
        last = self.source.read()
        seconds, joules = last.seconds - first.seconds, _spent(first, last)
        window = self._window(joules, seconds, self.shortest, first, last)
        self.idle_watts = None if window.joules is None else window.joules / window.seconds

    def celsius(self) -> float | None:
        """Give the temperature in deg C, or None where it cannot be read."""
        return self.source.celsius()

    def describe(self) -> dict[str, Any]:
        """Say how joules are had here, for the header of a log."""
        return {
            "source": self.source.name,
            "device": self.source.device,
            "formula": self.source.formula,
            "resolution_s": self.source.resolution,
            "shortest_window_s": self.shortest,
            "idle_watts": self.idle_watts,
        }

    def close(self) -> None:
        """Let go of the source."""
        self.source.close()

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _window(
        self, joules: float | None, seconds: float, least: float, first: Sample, last: Sample
    ) -> EnergyWindow:
        told = joules if seconds >= least and seconds > 0 else None
        idle = self.idle_watts * seconds / told if told and self.idle_watts is not None else None
        warming = None
        if first.celsius is not None and last.celsius is not None:
            warming = last.celsius - first.celsius
        return EnergyWindow(
            told, seconds, self.source.name, self.source.device, idle, last.celsius, warming
        )


def _spent(first: Sample, last: Sample) -> float | None:
    if first.joules is None or last.joules is None:
        return None
    # A counter that ran backwards was reset; what it says of this window is nothing.
    return last.joules - first.joules if last.joules >= first.joules else None


def open_source(
    device: torch.device,
    assumed_watts: float | None = None,
    powercap: Path = POWERCAP,
    thermal: Path = THERMAL,
) -> EnergySource:
    """Open the best source of joules that a device has.

    Args:
        device: what computes.
        assumed_watts: W per busy core for an estimate where nothing is measured; None for none.
        powercap: the root of the RAPL counters.
        thermal: the root of the thermal zones.

    Returns:
        NVML's counter or power for a CUDA device, RAPL for a CPU; else the estimate, for a CPU that
        was given a power; else a source that says ``unavailable``.

    Raises:
        GeoBasinError: the assumed power is not positive.
    """
    if device.type == "cuda":
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        meter = open_nvml(uuid, lambda: importlib.import_module("pynvml"))
        return meter or Unavailable(str(device), None)
    if device.type == "cpu":
        try:
            return Rapl(powercap, thermal)
        except GeoBasinError:
            if assumed_watts is not None:
                return Estimate(assumed_watts, thermal)
    return Unavailable(str(device), thermal if device.type == "cpu" else None)
