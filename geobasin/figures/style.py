"""One palette and one style; every figure drawn twice, for light pages and for dark ones."""

import base64
import html
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from geobasin.files import atomic_path

# The page tells a figure its mode; without a page the light drawing shows.
_MODE_CSS = (
    "<style>.geobasin-plate img{display:block;width:100%;max-width:40rem;height:auto;margin:auto}"
    ".geobasin-plate .for-dark{display:none}"
    ":is(html[data-theme=dark],html[theme=dark],body[data-jp-theme-light=false]) "
    ".geobasin-plate .for-dark{display:block}"
    ":is(html[data-theme=dark],html[theme=dark],body[data-jp-theme-light=false]) "
    ".geobasin-plate .for-light{display:none}</style>"
)


@dataclass(frozen=True)
class Palette:
    """The colours of one mode; every pair of ink and paper keeps a contrast of 4.5 or more.

    Attributes:
        paper: the background, as ``#rrggbb``.
        ink: text and axes.
        muted: rules, reference lines and second thoughts.
        grid: the grid behind the data.
        series: colours for data, told apart with the common colour-vision deficiencies.
        sequential: the name of matplotlib's colour map for ordered values.
    """

    paper: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]
    sequential: str

    def cycle(self, count: int) -> list[str]:
        """The first ``count`` colours for data, from the start again after the last."""
        return [self.series[index % len(self.series)] for index in range(count)]

    def rc(self) -> Any:
        """Matplotlib settings of this palette: an rc dictionary."""
        return {
            "figure.facecolor": self.paper,
            "savefig.facecolor": self.paper,
            "axes.facecolor": self.paper,
            "axes.edgecolor": self.muted,
            "axes.labelcolor": self.ink,
            "axes.titlecolor": self.ink,
            "text.color": self.ink,
            "xtick.color": self.ink,
            "ytick.color": self.ink,
            "grid.color": self.grid,
            "axes.prop_cycle": cycler(color=list(self.series)),
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.labelsize": 10,
            "xtick.labelsize": 9,
            "ytick.labelsize": 9,
            "legend.fontsize": 9,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "font.size": 10,
            "font.family": ["DejaVu Sans"],
            "svg.hashsalt": "geobasin",
        }


LIGHT = Palette(
    paper="#ffffff",
    ink="#1f2933",
    muted="#62707c",
    grid="#e1e6ea",
    series=("#0b6aa2", "#b8500a", "#1b7a4b", "#8e4b9e", "#a33b45", "#6b6312"),
    sequential="viridis_r",
)
DARK = Palette(
    paper="#14181d",
    ink="#e6ebef",
    muted="#9aa7b2",
    grid="#2b333b",
    series=("#63b8ee", "#f29a58", "#62cf98", "#cf97dd", "#f08a92", "#d3c65a"),
    sequential="viridis",
)


def axes(
    palette: Palette, rows: int = 1, columns: int = 1, width: float = 5.0, height: float = 3.3
) -> tuple[Figure, list[Axes]]:
    """Make a figure with a grid of axes in the house style.

    Args:
        palette: the mode's colours.
        rows: number of rows.
        columns: number of columns.
        width: inches; 5 keeps a 10 pt label legible on a page 390 px wide.
        height: inches.

    Returns:
        The figure and its ``rows * columns`` axes, row by row.
    """
    with sns.axes_style("whitegrid", rc=palette.rc()), mpl.rc_context(palette.rc()):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
    return figure, list(grid.flat)


class Plate:
    """A figure for a page: one drawing for light pages, one for dark, and its words.

    A notebook shows it by itself; on a page the mode chooses the drawing, in print there is a PNG.

    Args:
        draw: makes the figure in the colours it is given.
        alt: what the figure shows, in words, for those who do not see it.
    """

    def __init__(self, draw: Callable[[Palette], Figure], alt: str) -> None:
        self._draw = draw
        self.alt = alt

    def figure(self, palette: Palette = LIGHT) -> Figure:
        """Draw the figure.

        Args:
            palette: the mode's colours.

        Returns:
            A matplotlib figure that no global state knows of.
        """
        with mpl.rc_context(palette.rc()):
            return self._draw(palette)

    def save(self, path: Path) -> None:
        """Write the light drawing to ``path`` (.png or .svg), atomically, with its alt text inside.

        Args:
            path: the image file; its ending chooses the format.
        """
        kind = path.suffix.lstrip(".")
        with atomic_path(path) as temporary:
            temporary.write_bytes(self._image(LIGHT, kind))

    def _image(self, palette: Palette, kind: str) -> bytes:
        buffer = io.BytesIO()
        metadata = {
            "png": {"Description": self.alt, "Software": None},
            "svg": {"Description": self.alt, "Date": None},
        }[kind]
        with mpl.rc_context(palette.rc()):
            self._draw(palette).savefig(buffer, format=kind, dpi=160, metadata=metadata)
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        alt = html.escape(self.alt, quote=True)
        pictures = "".join(
            f'<img class="for-{mode}" alt="{alt}" '
            f'src="data:image/svg+xml;base64,{_base64(self._image(palette, "svg"))}">'
            for mode, palette in (("light", LIGHT), ("dark", DARK))
        )
        return {
            "text/html": f'{_MODE_CSS}<div class="geobasin-plate">{pictures}</div>',
            "image/png": _base64(self._image(LIGHT, "png")),
            "text/plain": self.alt,
        }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
