"""Joules of an NVIDIA GPU through NVML: its energy counter, or its power integrated."""

import threading
from collections.abc import Callable
from typing import Any

from geobasin.energy_sources import Clocked, EnergySource, Sample


class NvmlCounter(Clocked):
    """The total-energy counter of an NVIDIA GPU (Volta or later), in millijoule.

    Args:
        library: the ``pynvml`` module.
        handle: NVML's handle of the device.
    """

    name = "nvml-counter"
    resolution = 0.1
    formula = "advance of the board's total-energy counter, in millijoule"

    def __init__(self, library: Any, handle: Any) -> None:
        super().__init__(None)
        self._library, self._handle = library, handle
        self.device = _device_name(library, handle)
        library.nvmlDeviceGetTotalEnergyConsumption(handle)

    def read(self) -> Sample:
        """Look at the counter; a driver that fails gives no joules."""
        try:
            joules = self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3
        except self._library.NVMLError:
            joules = None
        return Sample(self.clock(), joules, self.celsius())

    def celsius(self) -> float | None:
        """Give the GPU's temperature in deg C, or None where it cannot be read."""
        return _gpu_celsius(self._library, self._handle)


class NvmlPower(Clocked):
    """The power an NVIDIA GPU reports, integrated over time by the trapezoid rule.

    A thread of its own looks every ``interval`` seconds until :meth:`close`.

    Args:
        library: the ``pynvml`` module.
        handle: NVML's handle of the device.
        interval: seconds between looks.
    """

    name = "nvml-power"
    resolution = 0.1
    formula = "trapezoid rule over the board's reported power"

    def __init__(self, library: Any, handle: Any, interval: float = 0.05) -> None:
        super().__init__(None)
        self._library, self._handle = library, handle
        self.device = _device_name(library, handle)
        self._lock = threading.Lock()
        self._joules: float | None = 0.0
        self._last = (self.clock(), self._watts())
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._poll, args=(interval,), daemon=True)
        self._thread.start()

    def read(self) -> Sample:
        """Look at the power and give the integral up to now; a failure leaves it unknown."""
        with self._lock:
            try:
                now = (self.clock(), self._watts())
            except self._library.NVMLError:
                self._joules = None
            if self._joules is None:
                return Sample(self.clock(), None, self.celsius())
            self._joules += (now[0] - self._last[0]) * (now[1] + self._last[1]) / 2
            self._last = now
            return Sample(now[0], self._joules, self.celsius())

    def celsius(self) -> float | None:
        """Give the GPU's temperature in deg C, or None where it cannot be read."""
        return _gpu_celsius(self._library, self._handle)

    def close(self) -> None:
        """Stop the thread."""
        self._done.set()
        self._thread.join()

    def _poll(self, interval: float) -> None:
        while not self._done.wait(interval):
            self.read()

    def _watts(self) -> float:
        return float(self._library.nvmlDeviceGetPowerUsage(self._handle)) / 1e3


def open_nvml(uuid: str, load: Callable[[], Any]) -> EnergySource | None:
    """Open the best meter that an NVIDIA GPU has.

    Args:
        uuid: the GPU's UUID as torch tells it, without ``GPU-``.
        load: gives the ``pynvml`` module or raises ImportError.

    Returns:
        The counter, else the integrated power, else None.
    """
    try:
        library = load()
    except ImportError:
        return None
    try:
        library.nvmlInit()
        # NVML's numbers are not CUDA's; the UUID is the same in both.
        handle = library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except library.NVMLError:
        return None
    for meter in (NvmlCounter, NvmlPower):
        try:
            return meter(library, handle)
        except library.NVMLError:
            continue
    return None


def _gpu_celsius(library: Any, handle: Any) -> float | None:
    try:
        return float(library.nvmlDeviceGetTemperature(handle, library.NVML_TEMPERATURE_GPU))
    except library.NVMLError:
        return None


def _device_name(library: Any, handle: Any) -> str:
    name = library.nvmlDeviceGetName(handle)
    return name.decode() if isinstance(name, bytes) else str(name)
