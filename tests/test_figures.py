"""Figures: labelled axes, words for those who do not see them, legible in both modes."""

import base64
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from ladder_outcomes import outcome

from geobasin.errors import GeoBasinError
from geobasin.features import synthetic
from geobasin.figures import basins, cantor, ladders, prototypes, training
from geobasin.figures.style import DARK, LIGHT, Palette, Plate
from geobasin.ladder import OURS, LadderResult
from geobasin.train import TrainConfig, Training, fit


@pytest.fixture(scope="module")
def run() -> Training:
    features = synthetic(classes=4, feature_dim=6, rows_per_class=12)
    return fit(features, TrainConfig(k=2, scales=(4, 5), epochs=3, batch=16, levels=1))


LADDER = pd.DataFrame(
    {"accuracy": [0.8, 0.9], "low": [0.7, 0.85], "high": [0.85, 0.95]},
    index=["nearest class mean", "GeoFractalDavid, 3 seeds"],
)
LABELS = np.arange(40) % 4
RIVALS = {"nearest class mean": 30, "MLP head": 3, f"{OURS}, no Cantor": 1}
RESULT = LadderResult(
    (outcome(OURS, 2, LABELS), *(outcome(n, wrong, LABELS) for n, wrong in RIVALS.items())),
    LABELS,
    "test",
    2,
)
PLATES: dict[str, Callable[[Training], Plate]] = {
    "soft_staircase": lambda _: cantor.soft_staircase(),
    "alpha_family": lambda _: cantor.alpha_family([0.2, 0.5]),
    "basin_map": lambda _: basins.basin_map(),
    "distribution": lambda run: prototypes.prototype_distribution(run.model),
    "sorted": lambda run: prototypes.prototypes_sorted(run.model),
    "cross_scale": lambda run: prototypes.prototypes_cross_scale(run.model),
    "curves": lambda run: training.training_curves(run.history),
    "path": lambda run: training.structure_path(run.history),
    "ladders": lambda _: ladders.ladder_differences({"one": RESULT, "other": RESULT}),
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


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_ladders_are_drawn_in_points_and_variants_of_ours_in_another_colour(
    palette: Palette,
) -> None:
    figure = ladders.ladder_differences({"one": RESULT, "other": RESULT}).figure(palette)
    for panel in figure.axes:
        (dots,) = (c for c in panel.collections if len(c.get_offsets()) == len(RIVALS))
        across, up = np.asarray(dots.get_offsets()).T
        np.testing.assert_allclose(across, [100 * (2 - wrong) / 40 for wrong in RIVALS.values()])
        names = {y: label.get_text() for y, label in zip(up, panel.get_yticklabels(), strict=True)}
        assert list(names.values()) == ["nearest class mean", "MLP head", "no Cantor"]
        one, other, own = np.asarray(dots.get_facecolor()).tolist()
        assert one == other != own
        left, right = panel.get_xlim()
        assert left < across.min() < across.max() < right


def test_ladders_without_ablations_and_without_anything() -> None:
    plate = ladders.ladder_differences({"one": RESULT}, ablations=False)
    assert "no Cantor" not in plate.alt
    assert "MLP head -2.50" in plate.alt
    alone = LadderResult(RESULT.outcomes[:1], LABELS, "test", 2)
    for nothing in ({}, {"one": alone}):
        with pytest.raises(GeoBasinError, match="nothing to draw"):
            ladders.ladder_differences(nothing)


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
