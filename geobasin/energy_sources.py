"""Where joules come from: the CPU's counters, an estimate that says so, a replay, or nowhere."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geobasin.errors import GeoBasinError

POWERCAP = Path("/sys/class/powercap")
THERMAL = Path("/sys/class/thermal")

_CPU_ZONES = {"x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal"}


@dataclass(frozen=True)
class Sample:
    """One look at a source.

    Attributes:
        seconds: when, on a clock that only runs forward.
        joules: energy since some moment that stays the same between looks; None where not measured.
        celsius: temperature in deg C; None where it cannot be read.
    """

    seconds: float
    joules: float | None
    celsius: float | None


class EnergySource(Protocol):
    """Something that counts joules.

    Attributes:
        name: how the joules were had: ``nvml-counter``, ``nvml-power``, ``rapl``, ``estimate``,
            ``replay`` or ``unavailable``.
        device: what the joules were spent by, in words.
        resolution: seconds between two updates of the counter.
        formula: how the joules follow from what is read.
    """

    name: str
    device: str
    resolution: float
    formula: str

    def clock(self) -> float:
        """Give the time in s without looking at the counter."""
        ...

    def read(self) -> Sample:
        """Look at the counter."""
        ...

    def celsius(self) -> float | None:
        """Give the temperature in deg C without looking at the counter; None where unknown."""
        ...

    def close(self) -> None:
        """Let go of what the source holds."""
        ...


class Clocked:
    """A source on the machine's own clock that holds nothing.

    Args:
        thermal: the root of the kernel's thermal zones; None where the device is no CPU.
    """

    def __init__(self, thermal: Path | None) -> None:
        self._thermal = thermal

    def clock(self) -> float:
        """Give the time in s, on a clock that only runs forward."""
        return time.perf_counter()

    def celsius(self) -> float | None:
        """Give the CPU's temperature in deg C, or None where it cannot be read."""
        return None if self._thermal is None else cpu_celsius(self._thermal)

    def close(self) -> None:
        """Nothing is held."""


class Unavailable(Clocked):
    """No joules, and it says so; the temperature is still read where there is one.

    Args:
        device: what was meant to be measured.
        thermal: the root of the kernel's thermal zones; None where the device is no CPU.
    """

    name = "unavailable"
    resolution = 0.0
    formula = "not measured"

    def __init__(self, device: str, thermal: Path | None = THERMAL) -> None:
        super().__init__(thermal)
        self.device = device

    def read(self) -> Sample:
        """Look at the temperature alone."""
        return Sample(self.clock(), None, self.celsius())


class Estimate(Clocked):
    """Joules that were never measured: E = P * (CPU seconds of this process, all threads).

    Args:
        watts: P, what one busy core is assumed to draw, in W, > 0.
        thermal: the root of the kernel's thermal zones.

    Raises:
        GeoBasinError: the power is not positive.
    """

    name = "estimate"
    resolution = 0.01

    def __init__(self, watts: float, thermal: Path = THERMAL) -> None:
        if not 0 < watts < float("inf"):
            raise GeoBasinError(f"the assumed power must be positive, not {watts} W")
        super().__init__(thermal)
        self.device = "this process's CPU time"
        self.formula = f"{watts:g} W (assumed) * CPU seconds of the process"
        self._watts = watts

    def read(self) -> Sample:
        """Look at the process's CPU time."""
        joules = self._watts * time.process_time()
        return Sample(self.clock(), joules, self.celsius())


class Rapl(Clocked):
    """The CPU packages' energy counters (RAPL), with DRAM where it is counted apart.

    Each zone counts microjoules and starts anew at its ``max_energy_range_uj``. A wrap is noticed
    as long as the source is read at least once per turn, which takes minutes at full load.

    Args:
        root: the powercap folder, ``/sys/class/powercap`` on Linux.
        thermal: the root of the kernel's thermal zones.

    Raises:
        GeoBasinError: there is no zone here, or its counter may not be read.
    """

    name = "rapl"
    resolution = 0.001
    formula = "sum over zones of the counter's advance, in microjoule"

    def __init__(self, root: Path = POWERCAP, thermal: Path = THERMAL) -> None:
        super().__init__(thermal)
        self._zones: list[_Zone] = []
        names = []
        for folder in sorted(root.glob("intel-rapl:*")):
            # Packages stand alone; of their parts only DRAM is not in the package's own count.
            part = re.fullmatch(r"intel-rapl:\d+(:\d+)?", folder.name)
            name = _text(folder / "name")
            if part and name and name.startswith("dram" if part[1] else "package"):
                names.append(name)
                self._zones.append(_Zone(folder))
        if not self._zones:
            raise GeoBasinError(f"no RAPL zone under {root}; energy stays unmeasured")
        self.device = "CPU (" + ", ".join(names) + ")"
        self.read()

    def read(self) -> Sample:
        """Look at every zone's counter."""
        joules = sum(zone.advance() for zone in self._zones) / 1e6
        return Sample(self.clock(), joules, self.celsius())


class _Zone:
    """One RAPL counter, unwrapped."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = _whole(folder / "max_energy_range_uj")
        self._last = _whole(self._counter)
        self._total = 0

    def advance(self) -> int:
        now = _whole(self._counter)
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total


class Replay:
    """Samples prepared beforehand, one for each look, so that every path runs without a meter.

    Args:
        samples: what the looks will show, in order; the last one repeats.
        resolution: seconds between updates that the source claims.
    """

    name = "replay"
    device = "replayed samples"
    formula = "as recorded"

    def __init__(self, samples: Sequence[Sample], resolution: float = 0.1) -> None:
        if not samples:
            raise GeoBasinError("a replay needs at least one sample")
        self._samples = list(samples)
        self.resolution = resolution

    def clock(self) -> float:
        """Give the time of the next look."""
        return self._samples[0].seconds

    def read(self) -> Sample:
        """Give the next sample."""
        return self._samples.pop(0) if len(self._samples) > 1 else self._samples[0]

    def celsius(self) -> float | None:
        """Give the temperature of the next sample."""
        return self._samples[0].celsius

    def close(self) -> None:
        """Nothing is held."""


def cpu_celsius(root: Path = THERMAL) -> float | None:
    """Read the hottest CPU package.

    Args:
        root: the kernel's folder of thermal zones.

    Returns:
        deg C, or None where no zone belongs to a CPU.
    """
    readings = []
    for zone in sorted(root.glob("thermal_zone*")):
        if _text(zone / "type") in _CPU_ZONES:
            text = _text(zone / "temp")
            if text is not None and re.fullmatch(r"-?\d+", text):
                readings.append(int(text) / 1e3)
    return max(readings, default=None)


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _whole(path: Path) -> int:
    text = _text(path)
    if text is None or not text.isdecimal():
        raise GeoBasinError(f"cannot read {path}; RAPL counters are often kept for root")
    return int(text)
