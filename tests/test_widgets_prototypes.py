"""The live prototypes of chapter 4: the order they tell, against the library's tables."""

from typing import Any

import numpy as np
import pytest
import torch
import traitlets

from geobasin import probe
from geobasin.errors import GeoBasinError
from geobasin.model import GeoFractalDavid
from geobasin.widgets.base import script
from geobasin.widgets.prototypes import PrototypesFigure

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]


@pytest.fixture(scope="module")
def model() -> GeoFractalDavid:
    """Prototypes in an order of their own at each scale, two of them equal at the first."""
    made = GeoFractalDavid(feature_dim=8, num_classes=6, k=2, scales=(8, 16))
    with torch.no_grad():
        made.head(8).cantor_prototypes.copy_(torch.tensor([0.5, 0.1, 0.3, 0.3, 0.9, 0.7]))
        made.head(16).cantor_prototypes.copy_(torch.tensor([0.2, 0.4, -0.1, 0.6, 0.3, 0.8]))
    return made


@pytest.mark.parametrize("scale", [8, 16])
def test_script_orders_classes_as_the_library_does(
    script_call: Any, model: GeoFractalDavid, scale: int
) -> None:
    table = probe.cantor_order(model, NAMES, scale)
    places = probe.prototypes(model, scale).tolist()
    source = script("prototypes.js")
    for rank, (name, row) in enumerate(table.iterrows(), start=1):
        found = script_call(source, "neighbours", places, rank)
        assert NAMES[found["chosen"]["index"]] == name
        assert found["chosen"]["place"] == row["place"]
        if rank > 1:
            assert found["below"]["gap"] == pytest.approx(row["gap"], abs=1e-12)
            assert NAMES[found["below"]["index"]] == table.index[rank - 2]
        assert found.get("above") is not None or rank == len(NAMES)


def test_traits_are_the_models_own(model: GeoFractalDavid) -> None:
    figure = PrototypesFigure(model, NAMES, scale=16, rank=2)
    assert figure.scales == [8, 16]
    np.testing.assert_array_equal(figure.prototypes[1], probe.prototypes(model, 16))
    assert (figure.scale, figure.rank) == (16, 2)
    assert "6 classes at 2 scales" in figure.still().alt


def test_names_scales_and_ranks_must_be_the_models(model: GeoFractalDavid) -> None:
    with pytest.raises(GeoBasinError, match="5 class names for 6 classes"):
        PrototypesFigure(model, NAMES[:5])
    with pytest.raises(traitlets.TraitError, match=r"scale 12 is none of \[8, 16\]"):
        PrototypesFigure(model, NAMES, scale=12)
    with pytest.raises(traitlets.TraitError, match="rank 7 is above the 6 classes"):
        PrototypesFigure(model, NAMES, rank=7)


def words(visit: Any) -> str:
    return visit.page.get_by_role("status").inner_text()


def test_keys_walk_along_the_line(show: Any, model: GeoFractalDavid) -> None:
    with show(PrototypesFigure(model, NAMES)) as visit:
        assert "class bee has rank 1 of 6, at 0.1000" in words(visit)
        assert "Nearest: class cat, 0.2000 above." in words(visit)
        slider = visit.page.get_by_role("slider", name="rank", exact=True)
        slider.press("End")
        assert slider.get_attribute("aria-valuetext") == "6 of 6"
        assert "class eel" in words(visit)
        assert "Nearest: class fox, 0.2000 below." in words(visit)
        slider.press("ArrowLeft")
        assert "class fox has rank 5" in words(visit)
        assert visit.faults == []


def test_a_class_stays_chosen_when_the_scale_changes(show: Any, model: GeoFractalDavid) -> None:
    with show(PrototypesFigure(model, NAMES, rank=4)) as visit:
        assert "Scale 8: class ant has rank 4 of 6, at 0.5000" in words(visit)
        button = visit.page.get_by_role("button", name="scale 16")
        assert button.get_attribute("aria-pressed") == "false"
        button.press("Enter")
        assert button.get_attribute("aria-pressed") == "true"
        assert "Scale 16: class ant has rank 2 of 6, at 0.2000" in words(visit)
        assert "Nearest: class eel, 0.1000 above; then class cat, 0.3000 below." in words(visit)
        slider = visit.page.get_by_role("slider", name="rank", exact=True)
        assert slider.get_attribute("aria-valuetext") == "2 of 6"


def test_mouse_reads_as_it_passes_and_a_finger_where_it_points(
    show: Any, model: GeoFractalDavid
) -> None:
    with show(PrototypesFigure(model, NAMES), width=390) as visit:
        box = visit.page.locator(".geobasin-prototypes svg").bounding_box()
        # The plot's left edge stands 44 px and its right edge 16 px inside the drawing.
        span = box["width"] - 60
        visit.page.mouse.move(box["x"] + 44 + 0.61 * span, box["y"] + 60)
        assert "class ant has rank 4" in words(visit)
        # On the lines below, the place counts and not the rank; the line reaches from -0.1 to 1.
        visit.page.mouse.move(box["x"] + 44 + 0.92 * span, box["y"] + box["height"] - 30)
        assert "class eel has rank 6" in words(visit)
        visit.page.touchscreen.tap(box["x"] + 44 + 0.4 * span, box["y"] + 60)
        assert "has rank 3" in words(visit)
