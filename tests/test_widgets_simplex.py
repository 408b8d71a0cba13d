"""The turning simplex: its numbers against the library's, its view, its behaviour in a browser."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geobasin.figures.simplices import regular_polygons, turned_view
from geobasin.simplex import regular_simplex
from geobasin.widgets.simplex import SimplexFigure

Call = Callable[..., Any]
SOURCE = SimplexFigure._esm
DIMENSIONS = range(2, 13)


def corners(k: int) -> NDArray[np.float64]:
    return regular_simplex(k).double().numpy()


def some_feature(k: int) -> list[float]:
    drawn = np.random.default_rng(k).normal(size=k + 1)
    return (drawn / np.linalg.norm(drawn)).tolist()


def state_of(figure: SimplexFigure) -> dict[str, Any]:
    names = ("k", "radius", "prototype", "feature", "line")
    return {name: getattr(figure, name) for name in names}


@pytest.mark.parametrize("k", DIMENSIONS)
def test_scores_are_those_of_the_formulas(k: int) -> None:
    figure = SimplexFigure(k=k, feature=some_feature(k), radius=0.6, prototype=0.2)
    z = np.array(figure.feature)
    vertices = np.concatenate([0.6 * corners(k), np.ones((k + 1, 1))], axis=1)
    distances = np.linalg.norm(vertices - z, axis=1)
    scores = figure.scores()
    assert scores.feature == pytest.approx(z[-1], abs=1e-12)
    # The library keeps its root away from zero by 1e-8 inside it.
    assert scores.crystal == pytest.approx(-math.sqrt(distances.min() ** 2 + 1e-8), abs=1e-6)
    assert scores.vertex == distances.argmin()
    assert scores.cantor == pytest.approx(-((scores.height - 0.2) ** 2), abs=1e-12)


def test_height_is_read_along_the_first_axis() -> None:
    # tanh(2 z) / 2 + 1/2 at z = 0 is the middle of the line, where the staircase stands at alpha.
    level = SimplexFigure(k=2, feature=[0.0, 0.6, 0.8]).scores().height
    assert level == pytest.approx(0.5, abs=1e-6)
    low = SimplexFigure(k=2, feature=[-1.0, 0.0, 0.1]).scores().height
    high = SimplexFigure(k=2, feature=[1.0, 0.0, 0.1]).scores().height
    assert low < 0.2 < 0.8 < high
    assert low + high == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("k", DIMENSIONS)
def test_script_scores_as_the_library_does(script_call: Call, k: int) -> None:
    figure = SimplexFigure(k=k, feature=some_feature(k), radius=0.15 + 0.07 * k, prototype=0.4)
    drawn, expected = script_call(SOURCE, "scores", state_of(figure)), figure.scores()
    assert drawn["cosine"] == pytest.approx(expected.feature, abs=1e-9)
    assert drawn["coherence"] == pytest.approx(expected.cantor, abs=1e-9)
    assert -drawn["distance"] == pytest.approx(expected.crystal, abs=1e-9)
    assert drawn["nearest"] == expected.vertex
    assert drawn["height"] == pytest.approx(expected.height, abs=1e-9)


@pytest.mark.parametrize("k", DIMENSIONS)
def test_script_draws_the_librarys_simplex(script_call: Call, k: int) -> None:
    drawn = script_call(SOURCE, "regularSimplex", k)
    np.testing.assert_allclose(drawn, corners(k), rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", DIMENSIONS)
def test_polygons_are_a_regular_simplex(k: int) -> None:
    polygons = regular_polygons(k)
    expected = (1 + 1 / k) * np.eye(k + 1) - 1 / k
    np.testing.assert_allclose(polygons @ polygons.T, expected, rtol=0, atol=1e-12)


@given(k=st.integers(2, 12), angle=st.floats(0, 2 * math.pi))
def test_a_view_is_an_orthogonal_projection(k: int, angle: float) -> None:
    view = turned_view(corners(k), angle)
    np.testing.assert_allclose(view @ view.T, np.eye(2), rtol=0, atol=1e-6)
    # The centroid, the last axis, stands upright.
    assert view[0, k] == 0 < view[1, k]


@pytest.mark.parametrize("k", DIMENSIONS)
def test_unturned_the_vertices_stand_on_a_regular_polygon(k: int) -> None:
    across, up = turned_view(corners(k), 0.0)[:, :k] @ corners(k).T
    tilt = math.sqrt(1 - turned_view(corners(k), 0.0)[1, k] ** 2)
    polygon = math.sqrt(2 / k) * np.exp(2j * math.pi * np.arange(k + 1) / (k + 1))
    np.testing.assert_allclose(across + 1j * up / tilt, polygon, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("k", "angle"), [(2, 0.0), (3, 1.0), (7, 2.5), (12, 6.0)])
def test_script_and_still_drawing_show_the_same_view(
    script_call: Call, k: int, angle: float
) -> None:
    drawn = script_call(SOURCE, "view", k, angle)
    np.testing.assert_allclose(drawn, turned_view(corners(k), angle), rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [2, 5, 12])
def test_a_moved_feature_keeps_what_the_picture_hides(script_call: Call, k: int) -> None:
    view = np.array(script_call(SOURCE, "view", k, 1.3))
    feature = np.array(some_feature(k))
    moved = np.array(script_call(SOURCE, "moved", feature.tolist(), view.tolist(), 0.4, -0.3))
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(view @ moved, [0.4, -0.3], rtol=0, atol=1e-12)
    before, after = (vector - view.T @ view @ vector for vector in (feature, moved))
    alike = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
    assert alike == pytest.approx(1, abs=1e-12)


def test_a_feature_pulled_off_the_sphere_stays_at_its_rim(script_call: Call) -> None:
    view = np.array(script_call(SOURCE, "view", 3, 0.2))
    moved = np.array(script_call(SOURCE, "moved", some_feature(3), view.tolist(), 3.0, 4.0))
    seen = view @ moved
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-12)
    assert 0.99 < np.linalg.norm(seen) < 1
    np.testing.assert_allclose(seen / np.linalg.norm(seen), [0.6, 0.8], rtol=0, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5, 12])
def test_page_and_kernel_fit_a_feature_alike(script_call: Call, k: int) -> None:
    figure = SimplexFigure(k=4, feature=some_feature(4))
    fitted = script_call(SOURCE, "fitted", figure.feature, k)
    figure.k = k
    assert len(figure.feature) == k + 1
    np.testing.assert_allclose(fitted, figure.feature, rtol=0, atol=1e-12)


def test_what_the_page_sends_reaches_an_observer() -> None:
    figure = SimplexFigure(k=2)
    heard: list[list[float]] = []
    figure.observe(lambda change: heard.append(change.new), "feature")
    figure.set_state({"k": 3, "feature": [0.0, 0.6, 0.0, 0.8]})
    assert figure.k == 3
    assert heard == [[0.0, 0.6, 0.0, 0.8]]


@pytest.mark.parametrize(
    "settings", [{"k": 1}, {"k": 13}, {"radius": 0.0}, {"prototype": 1.2}, {"feature": [0.0, 0.0]}]
)
def test_values_off_the_figure_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(traitlets.TraitError):
        SimplexFigure(**settings)


def test_output_holds_the_live_and_the_still_figure() -> None:
    figure = SimplexFigure(k=5)
    bundle, _ = figure._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<img") == 2
    assert "5-simplex with 6 vertices" in bundle["text/plain"]
    assert f"feature {figure.scores().feature:.2f}" in bundle["text/plain"]


def readings(page: Any) -> dict[str, float]:
    """The scores as the page prints them."""
    rows = page.locator(".gb-bar").all_inner_texts()
    pairs = (re.fullmatch(r"(\w+)\s+(\S+)", row) for row in rows)
    return {pair[1]: float(pair[2].replace("−", "-")) for pair in pairs if pair}


def test_page_prints_the_librarys_scores(show: Any) -> None:
    figure = SimplexFigure(k=6, prototype=0.1)
    with show(figure, mode="dark", width=390) as visit:
        scores, shown = figure.scores(), readings(visit.page)
        expected = {name: getattr(scores, name) for name in ("feature", "cantor", "crystal")}
        expected["compatibility"] = sum(expected.values()) / 3
        assert shown == pytest.approx(expected, abs=5.1e-4)
        assert f"Vertex {scores.vertex} is nearest" in visit.page.get_by_role("status").inner_text()
        assert visit.page.locator(".geobasin-plate").count() == 0
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.faults == []


def test_every_control_answers_to_the_keyboard(show: Any) -> None:
    with show(SimplexFigure(k=5, angle=1.0)) as visit:
        drawing = visit.page.locator(".gb-stage svg")
        scores = visit.page.locator(".gb-bars")
        # The height alone is in the numbers and not in the picture, the angle in the picture alone.
        changing = {"k": drawing, "radius": drawing, "turned by": drawing, "height p": scores}
        changing |= {"feature": scores}
        for name, part in changing.items():
            control = visit.page.get_by_role("slider", name=name, exact=True)
            for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
                before, spoken = part.inner_html(), control.get_attribute("aria-valuetext")
                control.press(key)
                assert part.inner_html() != before, (name, key)
                assert control.get_attribute("aria-valuetext") != spoken, (name, key)


def test_pointer_drags_the_feature_and_the_scores_follow(show: Any) -> None:
    figure = SimplexFigure(k=2, angle=0.0)
    with show(figure) as visit:
        handle = visit.page.get_by_role("slider", name="feature", exact=True)
        box, stage = handle.bounding_box(), visit.page.locator(".gb-stage").bounding_box()
        before = readings(visit.page)
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        visit.page.mouse.move(*middle)
        visit.page.mouse.down()
        visit.page.mouse.move(middle[0] - 60, middle[1], steps=3)
        after = readings(visit.page)
        visit.page.mouse.up()
        visit.page.mouse.move(middle[0] + 60, middle[1])
        assert after["feature"] != before["feature"]
        assert readings(visit.page) == after
        # The stage is 2.12 wide in the units of the sphere.
        across, _ = turned_view(corners(2), 0.0) @ figure.feature
        expected = across - 60 * 2.12 / stage["width"]
        assert handle.get_attribute("aria-valuenow") == f"{expected:.2f}"


def test_finger_places_the_feature(show: Any) -> None:
    with show(SimplexFigure(), width=390) as visit:
        handle = visit.page.get_by_role("slider", name="feature", exact=True)
        box = visit.page.locator(".gb-stage").bounding_box()
        visit.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)
        across, up = map(float, re.findall(r"[\d.]+", handle.get_attribute("aria-valuetext")))
        assert across == pytest.approx(0, abs=0.02)
        # The stage shows -1.06 to 1.36 from the bottom up.
        assert up == pytest.approx(1.36 - 2.42 / 4, abs=0.02)


def test_buttons_lead_to_the_best_scores(show: Any) -> None:
    with show(SimplexFigure(k=9, radius=0.5)) as visit:
        visit.page.get_by_role("button", name="feature to the centroid").click()
        assert readings(visit.page)["feature"] == 1
        for _ in range(2):
            status = visit.page.get_by_role("status")
            first = int(re.search(r"Vertex (\d+)", status.inner_text())[1])
            visit.page.get_by_role("button", name="to the next vertex").press("Enter")
            second = int(re.search(r"Vertex (\d+)", status.inner_text())[1])
            assert second == (first + 1) % 10
            # The sphere passes below the vertex, which is sqrt(1 + r^2) away from the origin.
            nearest = math.sqrt(1 + 0.5**2) - 1
            assert -readings(visit.page)["crystal"] == pytest.approx(nearest, abs=5.1e-4)


def test_a_new_dimension_gives_the_page_a_feature_that_fits(show: Any) -> None:
    with show(SimplexFigure(k=3)) as visit:
        visit.page.get_by_role("slider", name="k", exact=True).press("End")
        expected = SimplexFigure(k=12).scores()
        assert readings(visit.page)["crystal"] == pytest.approx(expected.crystal, abs=5.1e-4)


def test_it_turns_by_itself_until_it_is_paused(show: Any) -> None:
    with show(SimplexFigure(angle=0.0), motion=True) as visit:
        turned = visit.page.get_by_role("slider", name="turned by", exact=True)
        words = visit.page.get_by_role("status").inner_text()
        visit.page.wait_for_function(
            "() => Number(document.querySelectorAll('.gb-controls input')[1].value) > 0.05"
        )
        assert visit.page.get_by_role("status").inner_text() == words
        visit.page.get_by_role("button", name="pause").click()
        shown = turned.input_value()
        # Two more frames of the browser, in which a turning figure would have moved.
        visit.page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        assert turned.input_value() == shown
        assert visit.page.get_by_role("button", name="turn").is_visible()


def test_readers_who_asked_for_less_motion_start_it_themselves(show: Any) -> None:
    with show(SimplexFigure(angle=0.0)) as visit:
        turned = visit.page.get_by_role("slider", name="turned by", exact=True)
        button = visit.page.get_by_role("button", name="turn")
        assert button.is_visible()
        assert turned.get_attribute("aria-valuetext") == "0°"
        button.click()
        visit.page.wait_for_function(
            "() => Number(document.querySelectorAll('.gb-controls input')[1].value) > 0.05"
        )
        turned.press("ArrowRight")
        assert button.is_visible()
