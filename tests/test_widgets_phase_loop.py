"""The live coupler of chapter 5: its numbers against ReferenceDCLR's, its behaviour."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import traitlets

from geobasin.dclr_reference import ReferenceDCLR
from geobasin.figures.phase_loop import NOISE_FLOOR, follow_loop, toy_gradients
from geobasin.widgets.base import script
from geobasin.widgets.phase_loop import PhaseLoopFigure

SOURCE = script("curves.js", "phase_loop.js")


def run(script_call: Any, rows: np.ndarray, *settings: float) -> dict[str, np.ndarray]:
    drawn = script_call(SOURCE, "loop", rows.tolist(), *settings)
    return {
        name: np.array([math.nan if r[name] is None else r[name] for r in drawn])
        for name in ("phase", "h", "coherence", "late")
    }


@pytest.mark.parametrize(
    ("agreement", "coupling", "memory", "bound"),
    [
        (0.0, 0.3, 0.99, 2.0),
        (0.9, 0.3, 0.99, 2.0),
        (1.0, 1.0, 1.0, 3.0),
        (-1.0, 0.5, 0.995, 1.0),
        (0.4, 0.05, 0.8, 0.0),
    ],
)
def test_script_follows_the_reference(
    script_call: Any, agreement: float, coupling: float, memory: float, bound: float
) -> None:
    rows = toy_gradients(agreement, 60, 3)
    drawn = run(script_call, rows, coupling, memory, bound)
    # A tensor that really moves: what h does must not depend on it.
    tensor = torch.ones(rows.shape[1], dtype=torch.float64, requires_grad=True)
    reference = ReferenceDCLR([tensor], lr=0.1, coupling=coupling, memory=memory, bound=bound)
    expected = []
    for row in torch.from_numpy(rows):
        tensor.grad = row
        reference.step()
        expected.append(reference.state[tensor]["h"])
    np.testing.assert_allclose(drawn["h"], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("agreement", [-0.5, 0.0, 0.7])
def test_script_and_still_drawing_read_the_same(script_call: Any, agreement: float) -> None:
    rows = toy_gradients(agreement, 100, 5)
    drawn = run(script_call, rows, 0.3, 0.99, 2.0)
    for name, values in follow_loop(rows, 0.3, 0.99, 2.0)._asdict().items():
        np.testing.assert_allclose(drawn[name], values, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("agreement", "onset", "seed"), [(0.0, 1, 0), (-0.35, 81, 7), (1, 1, 999)])
def test_script_makes_the_same_gradients(
    script_call: Any, agreement: float, onset: int, seed: int
) -> None:
    drawn = script_call(SOURCE, "gradients", agreement, onset, seed)
    np.testing.assert_allclose(drawn, toy_gradients(agreement, onset, seed), rtol=0, atol=1e-9)


@pytest.mark.parametrize("agreement", [-0.8, 0.0, 0.5])
def test_gradients_agree_as_asked_once_they_have_begun(agreement: float) -> None:
    rows = np.concatenate([toy_gradients(agreement, 121, seed) for seed in range(8)], axis=1)
    before, after = rows[:119], rows[120:]
    assert rows.std() == pytest.approx(1, abs=0.02)
    assert np.mean(before[1:] * before[:-1]) == pytest.approx(0, abs=0.02)
    assert np.mean(after[1:] * after[:-1]) == pytest.approx(agreement, abs=0.02)


def test_noise_reads_as_zero_before_and_as_the_floor_after() -> None:
    rows = np.concatenate([toy_gradients(0.0, 1, seed) for seed in range(40)], axis=1)
    readings = follow_loop(rows, 0.3, 0.99, 2.0)
    # The floor holds for one direction in many coordinates: 2560 of them, averaged over steps.
    assert np.mean(readings.coherence[60:]) == pytest.approx(0, abs=0.01)
    assert np.mean(readings.late[60:]) == pytest.approx(NOISE_FLOOR, abs=0.01)
    assert pytest.approx(0.436, abs=5e-4) == NOISE_FLOOR


def test_equal_gradients_give_the_votes_of_the_closed_form() -> None:
    readings = follow_loop(toy_gradients(1.0, 1, 0), 0.3, 0.99, 2.0)
    t = np.arange(2, 241)
    np.testing.assert_allclose(readings.phase[1:], 1 - 0.9 ** (t - 1), atol=1e-9)
    assert readings.h.max() == readings.h[-1] == 2.0


def test_flipping_gradients_settle_below_zero() -> None:
    readings = follow_loop(toy_gradients(-1.0, 1, 0), 0.3, 0.99, 2.0)
    # m alternates between -+ (1 - beta1) / (1 + beta1) times the gradient.
    assert readings.phase[-1] == pytest.approx(-0.1 / 1.9, abs=1e-9)
    assert readings.coherence[-1] == pytest.approx(-1)


@pytest.mark.parametrize(
    "settings",
    [{"agreement": 1.1}, {"coupling": -0.1}, {"memory": 0.5}, {"bound": 4.0}, {"step": 241}],
)
def test_values_off_the_sliders_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(traitlets.TraitError):
        PhaseLoopFigure(**settings)


def test_words_of_the_still_drawing_hold_its_numbers() -> None:
    alt = PhaseLoopFigure(agreement=1.0, bound=1.0).still().alt
    assert "mean phase error 1.000, coherence 1.000" in alt
    assert "ends at 1.00, its bound is 1, and the gain ends at 2.72" in alt


def test_every_slider_answers_to_the_keyboard(show: Any) -> None:
    with show(PhaseLoopFigure(agreement=0.6, step=100)) as visit:
        drawing = visit.page.locator(".geobasin-phase-loop svg[role=img]")
        for name in ("agreement", "coupling κ", "memory ρ", "bound H", "step"):
            slider = visit.page.get_by_role("slider", name=name, exact=True)
            before, spoken = drawing.inner_html(), slider.get_attribute("aria-valuetext")
            slider.press("ArrowLeft")
            assert drawing.inner_html() != before
            assert slider.get_attribute("aria-valuetext") != spoken
        assert visit.faults == []


def words(visit: Any) -> str:
    return visit.page.get_by_role("status").inner_text()


def test_agreement_drives_the_gain_into_its_bound(show: Any) -> None:
    with show(PhaseLoopFigure(step=240)) as visit:
        visit.page.get_by_role("slider", name="agreement", exact=True).press("End")
        assert "h = 2.000, gain 7.39" in words(visit)
        visit.page.get_by_role("slider", name="bound H", exact=True).press("ArrowLeft")
        assert "h = 1.750, gain 5.75" in words(visit)
        visit.page.get_by_role("slider", name="agreement", exact=True).press("Home")
        assert "gain 0." in words(visit)


def test_a_step_in_the_agreement_and_new_noise_have_buttons(show: Any) -> None:
    with show(PhaseLoopFigure(agreement=1.0, step=70)) as visit:
        assert "h = 2.000" in words(visit)
        button = visit.page.get_by_role("button", name="noise up to step 80")
        button.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert "h = 2.000" not in words(visit)
        before = words(visit)
        visit.page.get_by_role("button", name="new noise").click()
        assert words(visit) != before


def test_pointer_and_finger_choose_the_step(show: Any) -> None:
    with show(PhaseLoopFigure(), width=390) as visit:
        box = visit.page.locator(".geobasin-phase-loop svg[role=img]").bounding_box()
        # The plots stand 52 px from the left and 44 px from the right.
        visit.page.mouse.move(box["x"] + box["width"] - 60, box["y"] + 60)
        visit.page.mouse.down()
        visit.page.mouse.move(box["x"] + 52, box["y"] + 60, steps=3)
        visit.page.mouse.up()
        assert words(visit).startswith("Step 1: A = undefined, h = 0.000, gain 1.00")
        visit.page.touchscreen.tap(box["x"] + box["width"] - 43, box["y"] + 60)
        assert words(visit).startswith("Step 240:")
