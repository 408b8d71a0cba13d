"""Joules from real folder trees, a stand-in for NVML's library, and replayed samples."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from geobasin.energy import EnergyMeter, open_source
from geobasin.energy_nvml import NvmlCounter, NvmlPower, open_nvml
from geobasin.energy_sources import Estimate, Rapl, Replay, Sample, Unavailable, cpu_celsius
from geobasin.errors import GeoBasinError

RANGE = 262_143_328_850


def zone(root: Path, folder: str, name: str, counter: int) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "energy_uj").write_text(f"{counter}\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    return path / "energy_uj"


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    return tmp_path / "nowhere"


def replay(*samples: tuple[float, float | None, float | None], resolution: float = 0.1) -> Replay:
    return Replay([Sample(*sample) for sample in samples], resolution)


# RAPL.


def test_rapl_adds_packages_and_dram_and_leaves_out_what_they_contain(
    tmp_path: Path, nowhere: Path
) -> None:
    package0 = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    core = zone(tmp_path, "intel-rapl:0:0", "core", 500_000)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", 10)
    package1 = zone(tmp_path, "intel-rapl:1", "package-1", 7)
    platform = zone(tmp_path, "intel-rapl:2", "psys", 9)
    mirror = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 3)
    source = Rapl(tmp_path, nowhere)
    before = source.read().joules
    for counter, advance in (
        (package0, 2_000_000),
        (package1, 3_000_000),
        (dram, 500_000),
        (core, 1_000_000),
        (platform, 8_000_000),
        (mirror, 2_000_000),
    ):
        counter.write_text(str(int(counter.read_text()) + advance))
    after = source.read().joules
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(5.5)
    assert source.device == "CPU (package-0, dram, package-1)"


def test_a_counter_that_starts_anew_loses_nothing(tmp_path: Path, nowhere: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000)
    source = Rapl(tmp_path, nowhere)
    counter.write_text("3000000")
    assert source.read().joules == pytest.approx(5.0)
    counter.write_text("4000000")
    assert source.read().joules == pytest.approx(6.0)


def test_a_counter_kept_for_root_is_no_source(tmp_path: Path, nowhere: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5).unlink()
    with pytest.raises(GeoBasinError, match="energy_uj"):
        Rapl(tmp_path, nowhere)
    source = open_source(torch.device("cpu"), powercap=tmp_path, thermal=nowhere)
    assert source.name == "unavailable"


def test_without_counters_nothing_is_made_up(nowhere: Path) -> None:
    with EnergyMeter("cpu", powercap=nowhere, thermal=nowhere) as meter:
        window = meter.lap()
    assert (window.joules, window.source, window.celsius) == (None, "unavailable", None)
    assert not meter.ripe()
    assert meter.total().joules is None


def test_a_cpu_with_counters_is_measured_by_them(tmp_path: Path, nowhere: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 5)
    source = open_source(torch.device("cpu"), 20.0, powercap=tmp_path, thermal=nowhere)
    assert source.name == "rapl"


# The estimate.


def test_the_estimate_is_watts_times_cpu_seconds(
    monkeypatch: pytest.MonkeyPatch, nowhere: Path
) -> None:
    source = open_source(torch.device("cpu"), 15.0, powercap=nowhere, thermal=nowhere)
    monkeypatch.setattr("time.process_time", lambda: 4.0)
    assert source.read().joules == 60.0
    assert source.name == "estimate"
    assert "15 W (assumed)" in source.formula


@pytest.mark.parametrize("watts", [0.0, -3.0, float("nan"), float("inf")])
def test_an_assumed_power_must_be_positive(watts: float) -> None:
    with pytest.raises(GeoBasinError, match="power"):
        Estimate(watts)


# NVML, by a stand-in for its library: machines that test have no such device.


class Nvml:
    """The few functions of pynvml that are used, over a device that the test steers."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """The library's one error."""

    def __init__(self, counter: bool = True, uuid: str = "GPU-abc") -> None:
        self.millijoules, self.milliwatts, self.broken = 5_000_000, 100_000, False
        self._counter, self._uuid = counter, uuid

    def nvmlInit(self) -> None:  # noqa: N802
        """Nothing to open."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return self._or_error(uuid == self._uuid, uuid)

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any) -> int:  # noqa: N802
        return self._or_error(self._counter and not self.broken, self.millijoules)

    def nvmlDeviceGetPowerUsage(self, _: Any) -> int:  # noqa: N802
        return self._or_error(not self.broken, self.milliwatts)

    def nvmlDeviceGetTemperature(self, _: Any, kind: int) -> int:  # noqa: N802
        return self._or_error(not self.broken, 41 + kind)

    def nvmlDeviceGetName(self, _: Any) -> bytes:  # noqa: N802
        return b"Stand-in GPU"

    def _or_error(self, fine: bool, value: Any) -> Any:
        if not fine:
            raise self.NVMLError
        return value


def test_nvmls_counter_is_read_in_millijoules() -> None:
    library = Nvml()
    source = open_nvml("abc", lambda: library)
    assert isinstance(source, NvmlCounter)
    before = source.read()
    library.millijoules += 2500
    after = source.read()
    assert before.joules is not None
    assert after.joules is not None
    assert after.joules - before.joules == pytest.approx(2.5)
    assert (after.celsius, source.device) == (41.0, "Stand-in GPU")


def test_without_a_counter_power_is_integrated() -> None:
    library = Nvml(counter=False)
    source = open_nvml("abc", lambda: library)
    assert isinstance(source, NvmlPower)
    before = source.read()
    for _ in range(5):
        after = source.read()
    source.close()
    assert before.joules is not None
    assert after.joules is not None
    # Constant power: however often it is polled, the integral is power times time.
    assert after.joules - before.joules == pytest.approx(100 * (after.seconds - before.seconds))


@pytest.mark.parametrize("counter", [True, False])
def test_a_driver_that_fails_leaves_the_window_unknown(counter: bool) -> None:
    library = Nvml(counter=counter)
    source = open_nvml("abc", lambda: library)
    meter = EnergyMeter("cpu", source)
    meter.start()
    library.broken = True
    window = meter.lap()
    meter.close()
    assert window.joules is None
    assert window.celsius is None


def test_another_device_or_no_library_is_no_source() -> None:
    def missing() -> SimpleNamespace:
        raise ImportError

    assert open_nvml("other", Nvml) is None
    assert open_nvml("abc", missing) is None


# Windows.


def test_a_window_knows_its_joules_source_and_warming() -> None:
    meter = EnergyMeter("cpu", replay((10.0, 100.0, 40.0), (12.0, 340.0, 45.5)))
    meter.start()
    window = meter.lap()
    assert window.joules == 240.0
    assert window.seconds == 2.0
    assert window.source == "replay"
    assert (window.celsius, window.warming) == (45.5, 5.5)
    assert window.idle_share is None


def test_a_window_shorter_than_ten_updates_is_unknown() -> None:
    meter = EnergyMeter("cpu", replay((0.0, 0.0, None), (0.5, 50.0, None), (1.5, 150.0, None)))
    meter.start()
    assert not meter.ripe()
    assert meter.lap().joules is None
    assert meter.ripe()
    assert meter.lap().joules == 100.0
    # Together the two are long enough, and nothing between them is lost.
    assert meter.total().joules == 150.0
    assert meter.total().seconds == 1.5


def test_what_is_spent_before_a_new_start_counts_in_no_window() -> None:
    meter = EnergyMeter(
        "cpu",
        replay((0.0, 0.0, None), (2.0, 20.0, None), (9.0, 900.0, None), (11.0, 930.0, None)),
    )
    meter.start()
    assert meter.lap().joules == 20.0
    meter.start()
    assert meter.lap().joules == 30.0
    assert meter.total().joules == 50.0
    assert meter.total().seconds == 4.0


def test_a_counter_that_was_reset_leaves_window_and_total_unknown() -> None:
    meter = EnergyMeter("cpu", replay((0.0, 500.0, None), (2.0, 20.0, None), (4.0, 60.0, None)))
    meter.start()
    assert meter.lap().joules is None
    assert meter.lap().joules == 40.0
    assert meter.total().joules is None


def test_the_idle_share_follows_from_the_idle_power() -> None:
    meter = EnergyMeter(
        "cpu",
        replay((0.0, 0.0, None), (2.0, 100.0, None), (2.0, 100.0, None), (6.0, 900.0, None)),
    )
    waited: list[float] = []
    meter.measure_idle(2.0, wait=waited.append)
    assert waited == [2.0]
    assert meter.idle_watts == 50.0
    meter.start()
    assert meter.lap().idle_share == pytest.approx(0.25)
    assert meter.total().joules == 800.0


def test_an_idle_measure_too_short_to_tell_stays_unknown() -> None:
    meter = EnergyMeter("cpu", replay((0.0, 0.0, None), (0.2, 10.0, None)))
    meter.measure_idle(0.2, wait=lambda _: None)
    assert meter.idle_watts is None


def test_a_lap_without_a_start_is_refused() -> None:
    meter = EnergyMeter("cpu", Unavailable("cpu"))
    with pytest.raises(GeoBasinError, match="start"):
        meter.lap()
    with pytest.raises(GeoBasinError, match="start"):
        meter.total()


def test_the_header_says_how_joules_are_had() -> None:
    told = EnergyMeter("cpu", Estimate(12.0)).describe()
    assert told["source"] == "estimate"
    assert told["formula"] == "12 W (assumed) * CPU seconds of the process"
    assert told["shortest_window_s"] == pytest.approx(10 * told["resolution_s"])
    assert told["idle_watts"] is None


# Temperature.


def test_the_hottest_cpu_zone_is_told_in_degrees(tmp_path: Path) -> None:
    for number, (kind, text) in enumerate(
        [("acpitz", "90000"), ("x86_pkg_temp", "48500"), ("x86_pkg_temp", "51000")]
    ):
        folder = tmp_path / f"thermal_zone{number}"
        folder.mkdir()
        (folder / "type").write_text(f"{kind}\n")
        (folder / "temp").write_text(f"{text}\n")
    assert cpu_celsius(tmp_path) == 51.0
    (tmp_path / "thermal_zone2" / "temp").write_text("not a number")
    assert cpu_celsius(tmp_path) == 48.5


def test_a_machine_without_a_sensor_has_no_temperature(nowhere: Path) -> None:
    assert cpu_celsius(nowhere) is None
