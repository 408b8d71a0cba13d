"""The stage's figures draw the numbers they are given, and say them."""

import math
from dataclasses import replace

import numpy as np
import pytest

from geobasin.errors import GeoBasinError
from geobasin.figures.stage import coupler_at_work, telemetry_curves
from geobasin.figures.style import DARK, LIGHT
from geobasin.telemetry import StepRecord

RECORDS = [
    StepRecord(
        mode="RFT",
        step=step,
        drift=None if step == 1 else 1.0 + step / 10,
        flux=0.01 * step,
        E_ret=1.0,
        coh=None if step == 1 else math.cos(1.0 + step / 10),
        loss=3.0 - step / 2,
        acc=0.5,
        J_step=None,
        tempC=None,
        t=float(step),
    )
    for step in (1, 2, 3)
]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_telemetry_is_drawn_as_logged_and_unknown_values_are_gaps(palette: object) -> None:
    figure = telemetry_curves({"RFT": RECORDS, "BASE": RECORDS[:2]}).figure(palette)  # type: ignore[arg-type]
    drift, _, flux, loss = figure.axes
    curve = next(line for line in drift.lines if line.get_label() == "RFT")
    assert list(curve.get_xdata()) == [1, 2, 3]
    np.testing.assert_allclose(curve.get_ydata(), [math.nan, 1.2, 1.3])
    assert [line.get_label() for line in flux.lines] == ["RFT", "BASE"]
    np.testing.assert_allclose(loss.lines[1].get_ydata(), [2.5, 2.0])


def test_the_words_of_the_telemetry_hold_its_numbers() -> None:
    unknown = [replace(record, drift=None, coh=None) for record in RECORDS]
    alt = telemetry_curves({"RFT": RECORDS, "BASE": unknown}).alt
    assert "RFT, 3 lines to step 3: mean drift 1.25" in alt
    assert "mean flux 0.02, loss from 2.50 to 1.50" in alt
    assert "BASE, 3 lines to step 3: drift not measured, coherence not measured" in alt


def test_the_coupler_is_drawn_with_gains_as_given_and_losses_smoothed() -> None:
    plate = coupler_at_work({"DCLR": [4.0, 2.0, 3.0]}, {"first layer": [1.0, 2.0, 0.5]})
    top, bottom = plate.figure().axes
    np.testing.assert_allclose(top.lines[0].get_ydata(), [4.0, 3.0, 3.0])
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), [1.0, 2.0, 0.5])
    assert "DCLR ends at 3.000" in plate.alt
    assert "first layer reaches 2.00 and ends at 0.50" in plate.alt


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(GeoBasinError, match="nothing to draw"):
        telemetry_curves({})
    with pytest.raises(GeoBasinError, match="nothing to draw"):
        telemetry_curves({"RFT": []})
    with pytest.raises(GeoBasinError, match="nothing to draw"):
        coupler_at_work({"DCLR": [1.0]}, {"first layer": []})
