"""Figures: labelled axes, words for those who do not see them, legible in both modes."""

import base64
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from geobasin.features import synthetic
from geobasin.figures import basins, cantor, prototypes, training
from geobasin.figures.style import DARK, LIGHT, Palette, Plate
from geobasin.train import TrainConfig, Training, fit


@pytest.fixture(scope="module")
def run() -> Training:
    features = synthetic(classes=4, feature_dim=6, rows_per_class=12)
    return fit(features, TrainConfig(k=2, scales=(4, 5), epochs=3, batch=16, levels=1))


LADDER = pd.DataFrame(
    {"accuracy": [0.8, 0.9], "low": [0.7, 0.85], "high": [0.85, 0.95]},
    index=["nearest class mean", "GeoFractalDavid, 3 seeds"],
)
PLATES: dict[str, Callable[[Training], Plate]] = {
    "soft_staircase": lambda _: cantor.soft_staircase(),
    "alpha_family": lambda _: cantor.alpha_family([0.2, 0.5]),
    "basin_map": lambda _: basins.basin_map(),
    "distribution": lambda run: prototypes.prototype_distribution(run.model),
    "sorted": lambda run: prototypes.prototypes_sorted(run.model),
    "cross_scale": lambda run: prototypes.prototypes_cross_scale(run.model),
    "ranges": lambda run: prototypes.prototype_ranges(run.model),
    "curves": lambda run: training.training_curves(run.history),
    "path": lambda run: training.structure_path(run.history),
    "bars": lambda _: training.accuracy_bars(LADDER),
}


@pytest.mark.parametrize("name", PLATES)
def test_a_figure_is_drawn_twice_and_told_in_words(name: str, run: Training) -> None:
    plate = PLATES[name](run)
    assert len(plate.alt.split()) > 8
    page = plate._repr_mimebundle_()["text/html"]
    drawings = re.findall(r'class="for-(light|dark)" alt="([^"]+)" src="data:[^,]+,([^"]+)"', page)
    assert [mode for mode, _, _ in drawings] == ["light", "dark"]
    papers = []
    for _, alt, data in drawings:
        assert len(alt) >= len(plate.alt)
        svg = base64.b64decode(data).decode()
        ElementTree.fromstring(svg)
        papers.append(next(p.paper for p in (LIGHT, DARK) if p.paper in svg))
    assert papers == [LIGHT.paper, DARK.paper]


@pytest.mark.parametrize("name", PLATES)
def test_every_axis_has_its_label(name: str, run: Training) -> None:
    panels = PLATES[name](run).figure().axes
    assert any(panel.get_xlabel() for panel in panels)
    for panel in panels:
        named_rows = any(re.search("[a-z]", label.get_text()) for label in panel.get_yticklabels())
        assert panel.get_ylabel() or named_rows


def test_drawing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.svg", "second.svg", "third.png"):
        cantor.soft_staircase().save(tmp_path / name)
    assert (tmp_path / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert (tmp_path / "third.png").read_bytes().startswith(b"\x89PNG")


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_of_text_and_data_stands_out(palette: Palette) -> None:
    for colour in (palette.ink, palette.muted, *palette.series):
        assert contrast(colour, palette.paper) >= 4.5, colour
    for one, other in itertools.combinations(palette.series, 2):
        assert one != other
