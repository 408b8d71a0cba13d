"""What every live figure shares: its script, its colours and its still drawing."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import anywidget

from geobasin.figures.style import DARK, LIGHT, Palette, Plate

_HERE = Path(__file__).parent
_DARK_PAGE = (
    "html[data-theme=dark] .geobasin-live,"
    "html[theme=dark] .geobasin-live,"
    "body[data-jp-theme-light=false] .geobasin-live"
)
# A page that says nothing of its mode follows the reader's system.
_SILENT_PAGE = (
    "html:not([data-theme=light],[data-theme=dark],[theme])"
    ":not(:has(body[data-jp-theme-light])) .geobasin-live"
)


def script(*names: str) -> str:
    """The ECMAScript module of a live figure.

    A module from a Blob address cannot import its neighbours, so what it needs stands in front.

    Args:
        names: files in this folder: the mathematics a figure shares with others, then its own.

    Returns:
        Their sources, with the kit's functions before them.
    """
    return "\n".join((_HERE / part).read_text(encoding="utf-8") for part in ("kit.js", *names))


def stylesheet() -> str:
    """The style of all live figures, in the colours of the printed ones.

    Returns:
        CSS that follows the page's mode, JupyterLab's and Colab's, and else the reader's system.
    """
    rules = (_HERE / "kit.css").read_text(encoding="utf-8")
    return (
        f".geobasin-live{{{_colours(LIGHT)}}}\n"
        f"{_DARK_PAGE}{{{_colours(DARK)}}}\n"
        f"@media (prefers-color-scheme: dark){{{_SILENT_PAGE}{{{_colours(DARK)}}}}}\n{rules}"
    )


def _colours(palette: Palette) -> str:
    named = {"paper": palette.paper, "ink": palette.ink, "muted": palette.muted}
    named |= {"grid": palette.grid}
    named |= {f"series-{number}": colour for number, colour in enumerate(palette.series, start=1)}
    return "".join(f"--gb-{name}:{colour};" for name, colour in named.items())


class LiveFigure(anywidget.AnyWidget):
    """A figure that answers to its reader, with a kernel and without.

    All that must work on a page lies in the figure's script; traits let Python drive it where a
    kernel runs. Subclasses set ``_esm = script(...)``, ``_css = stylesheet()`` and :meth:`still`.
    """

    @abstractmethod
    def still(self) -> Plate:
        """The figure as it stands, for print and for pages without JavaScript.

        Returns:
            A drawing of the traits' present values.
        """

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        live, metadata = super()._repr_mimebundle_(**options) or ({}, {})
        return live | self.still()._repr_mimebundle_(), metadata
