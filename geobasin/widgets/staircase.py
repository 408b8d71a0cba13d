"""The live staircase of chapter 1."""

from typing import ClassVar

import traitlets

from geobasin import published
from geobasin.figures.cantor import soft_staircase
from geobasin.figures.style import Plate
from geobasin.widgets.base import LiveFigure, script, stylesheet


class Staircase(LiveFigure):
    """The soft staircase against the exact Cantor function, with one place x read digit by digit.

    Attributes:
        alpha: height of the middle third, -0.5 to 1.
        tau: temperature of the digit assignment, 0.001 to 1.
        levels: depth of the recursion, 1 to 8.
        x: the place that is read, 0 to 1.
        marks: the published values of alpha by name; the page offers them as buttons.
    """

    _esm: ClassVar[str] = script("cantor.js", "staircase.js")
    _css: ClassVar[str] = stylesheet()

    alpha = traitlets.Float(0.5, min=-0.5, max=1.0).tag(sync=True)
    tau = traitlets.Float(0.25, min=0.001, max=1.0).tag(sync=True)
    levels = traitlets.Int(4, min=1, max=8).tag(sync=True)
    x = traitlets.Float(0.25, min=0.0, max=1.0).tag(sync=True)
    marks = traitlets.Dict(published.ALPHA, read_only=True).tag(sync=True)

    def still(self) -> Plate:
        """The staircase at the present alpha, tau and levels.

        Returns:
            A drawing without the controls.
        """
        return soft_staircase(self.alpha, self.tau, self.levels)
