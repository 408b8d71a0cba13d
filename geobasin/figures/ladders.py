"""The figure of several ladders: how far each method is ahead of GeoFractalDavid or behind it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from geobasin.errors import GeoBasinError
from geobasin.figures.style import Palette, Plate, axes
from geobasin.ladder import OURS, LadderResult

# Up to one point the axis is linear, beyond it logarithmic: a method that is far behind would
# otherwise press all the others into one dot.
_LINEAR = 1.0
_TICKS = (0.5, 1.0, 3.0, 10.0, 30.0)
_MARGIN = 1.15


def ladder_differences(ladders: Mapping[str, LadderResult], ablations: bool = True) -> Plate:
    """Draw each method's accuracy less GeoFractalDavid's, a panel for each set of features.

    Args:
        ladders: by the name of the features, each with GeoFractalDavid among its methods.
        ablations: with GeoFractalDavid's own variants, in another colour.

    Returns:
        The figure: percentage points with 95 % intervals over resampled rows, in the order of the
        ladder.

    Raises:
        GeoBasinError: there is nothing to draw.
    """
    tables = {name: _differences(result, ablations) for name, result in ladders.items()}
    if not tables or any(table.empty for table in tables.values()):
        raise GeoBasinError(
            f"nothing to draw; every ladder needs {OURS} and a method to set beside it"
        )

    def draw(palette: Palette) -> Figure:
        lines = max(len(table) for table in tables.values())
        figure, panels = axes(palette, rows=len(tables), height=len(tables) * (1.0 + 0.26 * lines))
        left = min(_MARGIN * float(table["low"].min()) for table in tables.values())
        right = max(_MARGIN * float(table["high"].max()) for table in tables.values())
        for panel, (name, table) in zip(panels, tables.items(), strict=True):
            result = ladders[name]
            _draw(panel, table, palette)
            panel.set_title(f"{name}: {len(result.labels):,} {result.split} rows")
            panel.set_xscale("symlog", linthresh=_LINEAR, linscale=1.5)
            panel.xaxis.set_major_locator(
                FixedLocator([*(-tick for tick in reversed(_TICKS)), 0.0, *_TICKS])
            )
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(lambda points, _: f"{points:+g}" if points else "0")
            panel.set_xlim(min(left, -_LINEAR), max(right, _LINEAR))
            panel.set_xlabel(f"accuracy less {OURS}'s (percentage points)")
        return figure

    words = "; ".join(
        f"{name}: "
        + ", ".join(
            f"{method} {row['mean']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
            for method, row in table.iterrows()
        )
        for name, table in tables.items()
    )
    return Plate(
        draw,
        f"Percentage points of accuracy of each method less those of {OURS}, "
        f"with 95 % intervals. On {words}.",
    )


def _differences(result: LadderResult, ablations: bool) -> pd.DataFrame:
    """By method, ``mean``, ``low`` and ``high`` in percentage points."""
    table = result.table()
    names = ["difference", "difference_low", "difference_high"]
    points = (100 * table[names]).dropna()
    points.columns = pd.Index(["mean", "low", "high"])
    own = points.index.str.startswith(OURS)
    return points if ablations else points[~own]


def _draw(panel: Axes, table: pd.DataFrame, palette: Palette) -> None:
    places = np.arange(len(table))[::-1]
    own = table.index.str.startswith(OURS)
    colours = np.where(own, palette.series[1], palette.series[0]).tolist()
    panel.axvline(0.0, color=palette.muted, linewidth=1.0)
    panel.hlines(places, table["low"], table["high"], colors=colours)
    panel.scatter(table["mean"], places, color=colours, s=18, zorder=3)
    names = [str(name).removeprefix(f"{OURS}, ") for name in table.index]
    panel.set_yticks(places, names)
    panel.set_ylim(-0.6, len(table) - 0.4)
