"""The live figures: their numbers against the library's, their page host, their behaviour."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import pytest
import torch
import traitlets
from playwright.sync_api import Browser

from geobasin.cantor import CantorStaircase, cantor_function
from geobasin.figures.style import DARK, LIGHT, Palette
from geobasin.widgets.base import stylesheet
from geobasin.widgets.staircase import Staircase

CALL = """async ([source, name, places, settings]) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const module = await import(address);
  return places.map((place) => module[name](place, ...settings));
}"""


@pytest.fixture(scope="module")
def call(chromium: Browser) -> Callable[..., list[Any]]:
    """Calls a function of the staircase's script: call(name, places, *settings)."""
    page = chromium.new_page()

    def run(name: str, places: list[float], *settings: float) -> list[Any]:
        return page.evaluate(CALL, [Staircase._esm, name, places, list(settings)])

    return run


@pytest.mark.parametrize("levels", [1, 2, 5, 8])
@pytest.mark.parametrize(("alpha", "tau"), [(0.5, 0.25), (0.329, 0.02), (-0.0764, 1.0), (1, 0.001)])
def test_script_draws_the_librarys_staircase(
    call: Callable[..., list[float]], alpha: float, tau: float, levels: int
) -> None:
    places = np.linspace(0, 1, 487)
    stairs = CantorStaircase(1, tau=tau, levels=levels).double()
    with torch.no_grad():
        stairs.alpha.fill_(alpha)
        expected = stairs.staircase(torch.from_numpy(places)).numpy()
    drawn = call("kappa", places.tolist(), alpha, tau, levels)
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-9)


def test_script_draws_the_librarys_cantor_function(call: Callable[..., list[float]]) -> None:
    # The function climbs fastest at the ends of the thirds, so their neighbours are tried too.
    ends = np.arange(3**5 + 1) / 3**5
    places = np.concatenate(
        [np.linspace(0, 1, 1001), ends, np.nextafter(ends, 0), np.nextafter(ends, 1).clip(max=1)]
    )
    drawn = call("cantor", places.tolist())
    np.testing.assert_allclose(drawn, cantor_function(places), rtol=0, atol=1e-9)


def test_script_reads_exact_ternary_digits(call: Callable[..., list[list[int]]]) -> None:
    places = [0.0, 1 / 3, 0.25, 0.5, 2 / 3, 0.7, 0.999]
    for place, digits in zip(places, call("ternary", places, 20), strict=True):
        rest = Fraction(place)
        for digit in digits:
            whole, rest = divmod(3 * rest, 1)
            assert digit == whole


def test_soft_digits_sum_to_one_in_the_cold(call: Callable[..., list[list[float]]]) -> None:
    for weights in call("reading", [0.0, 0.1, 1 / 3, 0.9, 1.0], 1e-4):
        assert sum(weights) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "settings", [{"alpha": 1.5}, {"tau": 0.0}, {"levels": 0}, {"levels": 9}, {"x": -0.1}]
)
def test_values_off_the_sliders_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(traitlets.TraitError):
        Staircase(**settings)


def test_output_holds_the_live_and_the_still_figure() -> None:
    bundle, _ = Staircase(alpha=0.329, levels=3)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert bundle["text/html"].count("<img") == 2
    assert "alpha 0.329" in bundle["text/plain"]
    assert "3 levels" in bundle["text/plain"]


def _rgb(colour: str) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgb({red}, {green}, {blue})"


@pytest.mark.parametrize(
    ("root", "body", "system", "palette"),
    [
        ('data-theme="light"', "", "dark", LIGHT),
        ('data-theme="dark"', "", "light", DARK),
        ('theme="dark"', "", "light", DARK),
        ("", 'data-jp-theme-light="false"', "light", DARK),
        ("", 'data-jp-theme-light="true"', "dark", LIGHT),
        ("", "", "dark", DARK),
        ("", "", "light", LIGHT),
    ],
)
def test_colours_follow_the_page(
    chromium: Browser, root: str, body: str, system: str, palette: Palette
) -> None:
    page = chromium.new_page(color_scheme=system)
    page.set_content(
        f"<html {root}><style>{stylesheet()}</style><body {body}>"
        '<div class="geobasin-live">words</div></body></html>'
    )
    figure = page.locator(".geobasin-live")
    colours = figure.evaluate(
        "(el) => [getComputedStyle(el).backgroundColor, getComputedStyle(el).color]"
    )
    page.close()
    assert colours == [_rgb(palette.paper), _rgb(palette.ink)]


def test_live_figure_takes_the_stills_place(show: Any) -> None:
    with show(Staircase()) as visit:
        assert visit.page.locator(".geobasin-live svg[role=img]").is_visible()
        assert visit.page.locator(".geobasin-plate").count() == 0
        assert visit.faults == []


@pytest.mark.parametrize(
    ("name", "key"),
    [("x", "ArrowRight"), ("alpha", "ArrowLeft"), ("tau", "PageDown"), ("levels", "ArrowRight")],
)
def test_every_slider_answers_to_the_keyboard(show: Any, name: str, key: str) -> None:
    with show(Staircase()) as visit:
        slider = visit.page.get_by_role("slider", name=name, exact=True)
        drawing = visit.page.locator(".geobasin-live svg")
        before, spoken = drawing.inner_html(), slider.get_attribute("aria-valuetext")
        slider.press(key)
        assert drawing.inner_html() != before
        assert slider.get_attribute("aria-valuetext") != spoken


def test_pointer_moves_x_and_the_words_follow(show: Any) -> None:
    with show(Staircase(x=0.1)) as visit:
        box = visit.page.locator(".geobasin-live svg").bounding_box()
        # The plot's left edge stands 36 px and its right edge 12 px inside the drawing.
        left, right = box["x"] + 36, box["x"] + box["width"] - 12
        visit.page.mouse.move(left + 5, box["y"] + 80)
        visit.page.mouse.down()
        visit.page.mouse.move((left + right) / 2, box["y"] + 60, steps=3)
        visit.page.mouse.up()
        words = visit.page.get_by_role("status").inner_text()
        x = float(re.search(r"x = ([\d.]+)", words).group(1))
        assert x == pytest.approx(0.5, abs=0.005)
        assert "Cantor function at 0.5000" in words
        visit.page.mouse.move(left + 5, box["y"] + 60)
        assert visit.page.get_by_role("status").inner_text() == words


def test_finger_moves_x(show: Any) -> None:
    with show(Staircase(x=0.1), width=390) as visit:
        box = visit.page.locator(".geobasin-live svg").bounding_box()
        visit.page.touchscreen.tap(box["x"] + box["width"] - 13, box["y"] + 60)
        assert "x = 0.99" in visit.page.get_by_role("status").inner_text()


def test_published_values_can_be_chosen(show: Any) -> None:
    with show(Staircase()) as visit:
        button = visit.page.get_by_role("button", name="final -0.0764")
        assert button.get_attribute("aria-pressed") == "false"
        button.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        slider = visit.page.get_by_role("slider", name="alpha", exact=True)
        assert slider.get_attribute("aria-valuetext") == "-0.0764"


def test_two_views_of_one_figure_agree(show: Any) -> None:
    figure = Staircase()
    with show(figure, figure) as visit:
        sliders = visit.page.get_by_role("slider", name="levels", exact=True)
        sliders.first.press("ArrowRight")
        assert sliders.last.input_value() == sliders.first.input_value() == "5"


class Broken(Staircase):
    """A figure whose script raises while it draws."""

    _esm = "export default { render({ el }) { el.append('half'); throw new Error('torn'); } };"


class Weighing(anywidget.AnyWidget):
    """A figure that needs initialize(), binary data and a factory instead of an object."""

    _esm = """export default () => ({
      initialize({ model }) { model.set("sum", model.get("data").getFloat32(4, true)); },
      render({ model, el }) { el.append(`weighs ${model.get("sum")}`); },
    });"""
    data = traitlets.Bytes(np.array([1.5, 2.5], dtype="<f4").tobytes()).tag(sync=True)
    sum = traitlets.Float(0.0).tag(sync=True)


def test_a_broken_figure_leaves_the_still_one_and_says_so(show: Any) -> None:
    with show(Broken(), Staircase()) as visit:
        assert visit.page.locator(".geobasin-plate").count() == 1
        assert visit.page.get_by_text("half").count() == 0
        assert visit.page.locator(".geobasin-live svg").is_visible()
        assert any("torn" in fault for fault in visit.faults)


def test_host_initialises_and_restores_binary_traits(show: Any) -> None:
    with show(Weighing()) as visit:
        assert visit.page.get_by_text("weighs 2.5").is_visible()


def test_a_control_that_needs_a_kernel_says_so(show: Any) -> None:
    with show(ipywidgets.IntSlider(description="epochs")) as visit:
        assert visit.page.get_by_text("needs a running kernel").is_visible()
        assert visit.faults == []
