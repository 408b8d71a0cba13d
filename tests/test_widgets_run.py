"""The live run of chapter 6: thinning, energy windows, and the cursor that reads both runs."""

import math
import re
from typing import Any

import pytest

from geobasin.errors import GeoBasinError
from geobasin.telemetry import StepRecord
from geobasin.widgets.base import script
from geobasin.widgets.run import RunFigure


def records(mode: str, count: int, window: int | None = None, every: int = 1) -> list[StepRecord]:
    """A run whose values tell their step; joules at the end of each window, 100 + its last step."""

    def record(step: int) -> StepRecord:
        ends = window is not None and step % window == 0
        return StepRecord(
            mode=mode,
            step=step,
            drift=None if step == 1 else math.pi * step / (step + 10),
            flux=step / 1000,
            E_ret=1.0,
            coh=None if step == 1 else -1 / step,
            loss=3 / step,
            acc=0.5,
            J_step=100.0 + step if ends else None,
            tempC=None,
            t=float(step),
            J_source="unavailable" if window is None else "rapl",
            J_window_s=1.0 if ends else None,
            J_window_steps=window if ends else None,
        )

    return [record(step) for step in range(1, count + 1, every)]


def test_figure_holds_the_records() -> None:
    figure = RunFigure({"RFT": records("RFT", 12), "BASE": records("BASE", 12)})
    assert figure.steps == list(range(1, 13))
    assert [run["name"] for run in figure.runs] == ["RFT", "BASE"]
    assert figure.runs[0]["loss"] == [float(f"{3 / step:.4g}") for step in range(1, 13)]
    assert figure.runs[0]["drift"][0] is None
    assert figure.runs[0]["joules"] == [None] * 12
    assert figure.logged == 12


def test_every_step_of_a_window_reads_the_joules_told_at_its_end() -> None:
    (run,) = RunFigure({"RFT": records("RFT", 12, window=5)}).runs
    assert run["joules"] == [105.0] * 5 + [110.0] * 5 + [None] * 2
    assert run["window"] == [5] * 10 + [None] * 2
    assert run["source"] == "rapl"


def test_long_runs_are_thinned_evenly_and_keep_their_ends() -> None:
    figure = RunFigure({"RFT": records("RFT", 1000)}, points=100)
    gaps = {b - a for a, b in zip(figure.steps, figure.steps[1:], strict=False)}
    assert len(figure.steps) == 100
    assert (figure.steps[0], figure.steps[-1]) == (1, 1000)
    assert gaps <= {10, 11}
    assert figure.runs[0]["flux"] == [float(f"{step / 1000:.4g}") for step in figure.steps]
    assert figure.logged == 1000


def test_runs_logged_at_other_steps_have_gaps() -> None:
    short, sparse = records("BASE", 4), records("RFT", 7, every=3)
    figure = RunFigure({"BASE": short, "RFT": sparse})
    assert figure.steps == [1, 2, 3, 4, 7]
    assert [value is None for value in figure.runs[0]["loss"]] == [False] * 4 + [True]
    assert [value is None for value in figure.runs[1]["loss"]] == [False, True, True, False, False]


@pytest.mark.parametrize(
    ("runs", "points", "words"),
    [
        ({}, 300, "one to 4 runs"),
        ({"RFT": []}, 300, "none of them empty"),
        ({str(number): records("RFT", 2) for number in range(5)}, 300, "one to 4 runs"),
        ({"RFT": records("RFT", 2)}, 1, "at least 2, not 1"),
    ],
)
def test_what_cannot_be_shown_is_refused(runs: Any, points: int, words: str) -> None:
    with pytest.raises(GeoBasinError, match=words):
        RunFigure(runs, points=points)


def test_still_drawing_has_the_joules_where_they_were_measured() -> None:
    metered = RunFigure({"RFT": records("RFT", 12, window=5), "BASE": records("BASE", 12)}).still()
    plain = RunFigure({"RFT": records("RFT", 12)}).still()
    assert "mean joules a step 108" in metered.alt
    assert "joules a step not measured" in plain.alt
    assert len(metered.figure().axes) == len(plain.figure().axes) + 1


def test_script_finds_the_nearest_kept_step(script_call: Any) -> None:
    source, steps = script("curves.js", "run.js"), [1, 4, 8, 20]
    for step in range(1, 25):
        expected = min(range(len(steps)), key=lambda place: (abs(steps[place] - step), place))
        assert script_call(source, "nearest", steps, step) == expected


def cells(visit: Any, row: str) -> list[str]:
    found = visit.page.get_by_role("row", name=re.compile(f"^{row}")).get_by_role("cell")
    return found.all_inner_texts()


def test_cursor_reads_both_runs_at_its_step(show: Any) -> None:
    runs = {"RFT": records("RFT", 12, window=5), "BASE": records("BASE", 12)}
    with show(RunFigure(runs, step=5)) as visit:
        assert cells(visit, "loss") == ["0.6 nat", "0.6 nat"]
        assert cells(visit, "joules a step") == ["105 J (rapl, mean of 5 steps)", "not measured"]
        visit.page.get_by_role("slider", name="step", exact=True).press("ArrowRight")
        assert cells(visit, "loss") == ["0.5 nat", "0.5 nat"]
        assert cells(visit, "coherence") == ["−0.1667", "−0.1667"]
        assert cells(visit, "joules a step")[0] == "110 J (rapl, mean of 5 steps)"
        visit.page.get_by_role("slider", name="step", exact=True).press("Home")
        assert cells(visit, "drift") == ["not measured", "not measured"]
        assert visit.faults == []


def test_keys_step_through_what_a_thinned_run_keeps(show: Any) -> None:
    figure = RunFigure({"RFT": records("RFT", 1000)}, points=11, step=1)
    with show(figure) as visit:
        slider = visit.page.get_by_role("slider", name="step", exact=True)
        for step in figure.steps[1:4]:
            slider.press("ArrowRight")
            assert slider.get_attribute("aria-valuetext") == str(step)
        words = visit.page.get_by_role("status").inner_text()
        assert f"Step {figure.steps[3]} of 1000" in words
        assert "Of 1000 logged steps 11 are shown" in words


def test_pointer_and_finger_move_the_cursor(show: Any) -> None:
    with show(RunFigure({"RFT": records("RFT", 101)}, step=1), width=390) as visit:
        box = visit.page.locator(".geobasin-run svg[role=img]").bounding_box()
        # The plots stand 52 px from the left and 14 px from the right.
        middle = box["x"] + 52 + (box["width"] - 66) / 2
        visit.page.mouse.move(box["x"] + 60, box["y"] + 90)
        visit.page.mouse.down()
        visit.page.mouse.move(middle, box["y"] + 90, steps=3)
        visit.page.mouse.up()
        assert "Step 51 of 101" in visit.page.get_by_role("status").inner_text()
        visit.page.touchscreen.tap(box["x"] + box["width"] - 14, box["y"] + 90)
        assert "Step 101 of 101" in visit.page.get_by_role("status").inner_text()
