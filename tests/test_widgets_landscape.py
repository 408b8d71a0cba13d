"""The basin landscape: its probabilities against the library's, its behaviour in a browser."""

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from numpy.typing import NDArray

from geobasin.cantor import CantorStaircase
from geobasin.figures.landscape import basin_probabilities, front
from geobasin.figures.style import DARK, LIGHT, Palette
from geobasin.widgets.landscape import LandscapeFigure
from geobasin.widgets.line import first_axis_line

Call = Callable[..., Any]
SOURCE = LandscapeFigure._esm
SETTINGS: list[dict[str, Any]] = [
    {},
    {"classes": 4, "feature": 2.0, "temperature": 0.02, "radius": 0.1},
    {"classes": 5, "cantor": 3.0, "crystal": -1.0, "temperature": 1.0, "radius": 0.6},
    {"classes": 5, "feature": -4.0, "cantor": -4.0, "crystal": 4.0, "temperature": 0.01},
]


def places(count: int = 40) -> NDArray[np.float64]:
    draw = np.random.default_rng(0)
    radii, turns = np.sqrt(draw.uniform(size=count)), draw.uniform(0, 2 * math.pi, size=count)
    return np.stack([radii * np.cos(turns), radii * np.sin(turns)], axis=1)


def by_library(figure: LandscapeFigure, points: NDArray[np.float64]) -> NDArray[np.float64]:
    z = front(torch.from_numpy(points))
    line = first_axis_line(3)
    return basin_probabilities(z, figure.head(), line, figure.temperature).numpy()


def state_of(figure: LandscapeFigure) -> dict[str, Any]:
    names = ("classes", "centres", "radius", "feature", "cantor", "crystal", "temperature", "line")
    return {name: getattr(figure, name) for name in names}


@pytest.mark.parametrize("settings", SETTINGS)
def test_script_knows_the_librarys_probabilities(
    script_call: Call, settings: dict[str, Any]
) -> None:
    figure = LandscapeFigure(**settings)
    points = places()
    drawn = [
        script_call(SOURCE, "probabilities", state_of(figure), *point) for point in points.tolist()
    ]
    np.testing.assert_allclose(drawn, by_library(figure, points), rtol=0, atol=1e-9)


def test_probabilities_follow_the_formula() -> None:
    figure = LandscapeFigure(classes=3, feature=0.5, cantor=1.0, crystal=-0.3, temperature=0.2)
    point = np.array([0.3, -0.2])
    z = np.append(point, math.sqrt(1 - point @ point))
    weights = np.exp([0.5, 1.0, -0.3]) / np.exp([0.5, 1.0, -0.3]).sum()
    stairs = CantorStaircase(1).double()

    def height(across: float) -> float:
        place = torch.tensor([0.5 + 0.5 * math.tanh(2 * across)], dtype=torch.float64)
        return stairs.staircase(place).item()

    turns = [math.atan2(y, x) for x, y in ((1, 3**-0.5), (-1, 3**-0.5), (0, -1))]
    corners = [np.array([math.cos(turn), math.sin(turn), 0]) for turn in turns]
    scores = []
    for x, y in figure.centres[:3]:
        centroid = np.array([x, y, math.sqrt(1 - x * x - y * y)])
        nearest = min(np.linalg.norm(centroid + 0.35 * corner - z) for corner in corners)
        gap = height(point[0]) - height(x)
        scores.append(weights @ [z @ centroid, -(gap**2), -nearest])
    expected = np.exp(np.array(scores) / 0.2)
    expected /= expected.sum()
    np.testing.assert_allclose(by_library(figure, point[None])[0], expected, rtol=0, atol=1e-6)


def test_by_centroids_alone_the_nearest_centroid_wins() -> None:
    figure = LandscapeFigure(classes=5, feature=4.0, cantor=-4.0, crystal=-4.0, temperature=0.01)
    points = places(400)
    z, centroids = (
        front(torch.tensor(each, dtype=torch.float64)).numpy() for each in (points, figure.centres)
    )
    cosines = np.sort(z @ centroids.T, axis=1)
    # The other two keep a weight of 0.0003 each, so places next to a border are left out.
    clear = cosines[:, -1] - cosines[:, -2] > 0.01
    assert clear.sum() > 300
    winners = by_library(figure, points).argmax(1)
    assert (winners == (z @ centroids.T).argmax(1))[clear].all()


def test_heat_makes_the_classes_alike_and_cold_tells_them_apart() -> None:
    points = places(200)
    surest = [
        by_library(LandscapeFigure(temperature=temperature), points).max(1).mean()
        for temperature in (0.01, 0.05, 0.2, 1.0)
    ]
    assert all(colder > hotter for colder, hotter in itertools.pairwise(surest))
    assert surest[0] > 0.95
    assert surest[-1] < 0.45


def test_what_the_page_sends_reaches_an_observer() -> None:
    figure = LandscapeFigure()
    heard: list[tuple[float, float]] = []
    figure.observe(lambda change: heard.append(change.new), "point")
    figure.set_state({"point": [0.25, -0.5]})
    assert heard == [(0.25, -0.5)]


@pytest.mark.parametrize(
    "settings",
    [
        {"classes": 2},
        {"classes": 6},
        {"temperature": 0.0},
        {"feature": 4.5},
        {"radius": 0.0},
        {"point": (0.8, 0.8)},
        {"point": (math.nan, 0.0)},
        {"centres": [(0.0, 0.0)] * 4},
        {"centres": [(0.0, 0.0)] * 4 + [(1.1, 0.0)]},
    ],
)
def test_values_off_the_figure_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(traitlets.TraitError):
        LandscapeFigure(**settings)


def test_output_holds_the_live_and_the_still_figure() -> None:
    figure = LandscapeFigure(classes=4, point=(0.2, 0.1))
    bundle, _ = figure._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<img") == 2
    shares = by_library(figure, np.array([[0.2, 0.1]]))[0]
    told = [f"{letter} {share:.0%}" for letter, share in zip("ABCD", shares, strict=True)]
    assert ", ".join(told) in bundle["text/plain"]


def readings(page: Any) -> list[float]:
    """The probabilities as the page prints them."""
    rows = page.locator(".gb-bar").all_inner_texts()
    return [float(row.split()[-1]) for row in rows]


def test_page_prints_the_librarys_probabilities(show: Any) -> None:
    figure = LandscapeFigure(classes=5, point=(-0.3, 0.2), temperature=0.3)
    with show(figure, mode="dark", width=390) as visit:
        expected = by_library(figure, np.array([figure.point]))[0]
        np.testing.assert_allclose(readings(visit.page), expected, rtol=0, atol=5.1e-3)
        words = visit.page.get_by_role("status").inner_text()
        assert f"basin of class {'ABCDE'[expected.argmax()]}" in words
        assert visit.page.locator(".geobasin-plate").count() == 0
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.faults == []


def mixed(palette: Palette, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The colour of a place: the classes' colours by their shares, let through to the paper."""

    def numbers(colour: str) -> NDArray[np.float64]:
        return np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)], dtype=float)

    colours = np.array([numbers(colour) for colour in palette.series[: len(shares)]])
    return 0.58 * numbers(palette.paper) + 0.42 * shares @ colours


PIXEL = """([x, y]) => {
  const canvas = document.querySelector("canvas");
  const across = Math.floor((canvas.width * (x + 1)) / 2);
  const down = Math.floor((canvas.height * (1 - y)) / 2);
  return [...canvas.getContext("2d").getImageData(across, down, 1, 1).data].slice(0, 3);
}"""


def test_every_place_has_the_colour_of_its_probabilities_in_either_mode(show: Any) -> None:
    figure = LandscapeFigure(classes=4, temperature=0.2)
    points = np.array([[-0.5, 0.6], [0.5, 0.1], [0.05, -0.7], [0.7, -0.4]])
    with show(figure) as visit:
        for palette, mode in ((LIGHT, "light"), (DARK, "dark")):
            visit.page.evaluate(
                "(mode) => { document.documentElement.dataset.theme = mode; }", mode
            )
            # Once it rests the figure is painted again, finer; an unpainted canvas is 300 wide.
            visit.page.wait_for_function("() => document.querySelector('canvas').width > 300")
            shares = by_library(figure, points)
            for point, expected in zip(points.tolist(), shares, strict=True):
                painted = visit.page.evaluate(PIXEL, point)
                np.testing.assert_allclose(painted, mixed(palette, expected), rtol=0, atol=3)


def test_every_control_answers_to_the_keyboard(show: Any) -> None:
    names = ["class A", "class B", "class C", "point", "feature", "cantor", "crystal"]
    with show(LandscapeFigure()) as visit:
        for name in [*names, "temperature", "radius", "classes"]:
            control = visit.page.get_by_role("slider", name=name, exact=True)
            before, spoken = readings(visit.page), control.get_attribute("aria-valuetext")
            for key in ("PageUp", "ArrowUp", "ArrowRight", "ArrowRight"):
                control.press(key)
            assert control.get_attribute("aria-valuetext") != spoken, name
            assert readings(visit.page) != before, name


def test_a_weight_takes_from_the_others_and_is_told(show: Any) -> None:
    with show(LandscapeFigure()) as visit:
        names = ("feature", "cantor", "crystal")
        sliders = [visit.page.get_by_role("slider", name=name, exact=True) for name in names]
        assert [slider.get_attribute("aria-valuetext") for slider in sliders] == ["33 %"] * 3
        button = visit.page.get_by_role("button", name="corners only")
        button.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        told = [slider.get_attribute("aria-valuetext") for slider in sliders]
        assert told == ["0 %", "0 %", "100 %"]


def test_a_class_that_is_dragged_takes_its_basin_along(show: Any) -> None:
    with show(LandscapeFigure(point=(0.0, 0.8))) as visit:
        box = visit.page.locator(".gb-stage").bounding_box()

        def at(x: float, y: float) -> tuple[float, float]:
            return box["x"] + box["width"] * (x + 1) / 2, box["y"] + box["height"] * (1 - y) / 2

        before = readings(visit.page)
        visit.page.mouse.move(*at(0.0, -0.5))
        visit.page.mouse.down()
        visit.page.mouse.move(*at(0.0, 0.7), steps=4)
        visit.page.mouse.up()
        visit.page.mouse.move(2, 2)
        moved = visit.page.get_by_role("slider", name="class C", exact=True)
        assert moved.get_attribute("aria-valuetext") == "0.00 across, 0.70 up"
        assert readings(visit.page)[2] > before[2] + 0.3
        centres = [(-0.45, 0.4), (0.5, 0.4), (0.0, 0.7), (0.65, -0.3), (-0.65, -0.25)]
        expected = by_library(LandscapeFigure(centres=centres), np.array([[0.0, 0.8]]))[0]
        np.testing.assert_allclose(readings(visit.page), expected, rtol=0, atol=0.011)


def test_the_place_under_the_pointer_is_read_out_and_left_again(show: Any) -> None:
    figure = LandscapeFigure()
    with show(figure) as visit:
        box = visit.page.locator(".gb-stage").bounding_box()
        status = visit.page.get_by_role("status")
        before = status.inner_text()
        visit.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
        words = status.inner_text()
        assert words.startswith("Under the pointer")
        place = [float(number) for number in re.findall(r"\d\.\d+", words)]
        assert place == pytest.approx([0.5, 0.5], abs=0.011)
        expected = by_library(figure, np.array([[-0.5, 0.5]]))[0]
        np.testing.assert_allclose(readings(visit.page), expected, rtol=0, atol=0.011)
        visit.page.mouse.move(2, 2)
        assert status.inner_text() == before


def test_finger_puts_the_point_into_a_basin(show: Any) -> None:
    with show(LandscapeFigure(), width=390) as visit:
        box = visit.page.locator(".gb-stage").bounding_box()
        visit.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 0.9 * box["height"])
        handle = visit.page.get_by_role("slider", name="point", exact=True)
        assert handle.get_attribute("aria-valuetext") == "0.00 across, −0.80 up"
        assert "basin of class C" in visit.page.get_by_role("status").inner_text()
        # Beyond the rim the point stays on the disc.
        visit.page.touchscreen.tap(box["x"] + box["width"] - 1, box["y"] + 1)
        across, up = re.findall(r"[\d.]+", handle.get_attribute("aria-valuetext"))
        assert math.hypot(float(across), float(up)) == pytest.approx(0.99, abs=0.011)


def test_more_classes_bring_their_handles(show: Any) -> None:
    with show(LandscapeFigure()) as visit:
        handles = visit.page.get_by_role("slider", name=re.compile("^class [A-E]$"))
        assert handles.count() == 3
        visit.page.get_by_role("slider", name="classes", exact=True).press("End")
        assert handles.count() == 5
        assert len(readings(visit.page)) == 5
