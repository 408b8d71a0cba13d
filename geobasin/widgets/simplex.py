"""The turning simplex of chapter 2."""

import math
from typing import Any, ClassVar, NamedTuple

import torch
import traitlets

from geobasin.figures.simplices import simplex_and_feature
from geobasin.figures.style import Plate
from geobasin.simplex import regular_simplex, rigid_vertices, score_rigid
from geobasin.widgets.base import LiveFigure, script, stylesheet
from geobasin.widgets.line import first_axis_line, line_settings

_START: list[float] = [0.55, 0.25, -0.3, 0.75]


class FeatureScores(NamedTuple):
    """What a class says of the feature.

    Attributes:
        feature: cosine with the class's centroid, -1 to 1.
        cantor: minus the squared difference of the two heights, at most 0.
        crystal: minus the distance to the nearest vertex, below 0.
        vertex: which vertex is nearest, 0 to k.
        height: of the feature on the staircase, 0 to 1.
    """

    feature: float
    cantor: float
    crystal: float
    vertex: int
    height: float


class SimplexFigure(LiveFigure):
    """A class simplex that turns through all its dimensions, and a feature to be moved about it.

    The space is R^(k+1). The simplex is rigid, its frame the first k axes and its centroid the unit
    vector of the last. The feature's place on the Cantor line is read along the first axis.

    Attributes:
        k: dimension of the simplex, 2 to 12.
        radius: of the simplex, 0.1 to 1.
        prototype: the class's height on the staircase, 0 to 1.
        feature: unit vector of k + 1 numbers. Any other length is cut or filled with zeros before
            the last number, and what is given is scaled to length 1; only zeros are refused.
        angle: how far the view has turned, in rad, 0 to 2 pi.
        turning: whether the view turns by itself.
        line: settings of the Cantor line.
    """

    _esm: ClassVar[str] = script("cantor.js", "basins.js", "simplex.js")
    _css: ClassVar[str] = stylesheet()

    k = traitlets.Int(3, min=2, max=12).tag(sync=True)
    radius = traitlets.Float(0.8, min=0.1, max=1.0).tag(sync=True)
    prototype = traitlets.Float(0.7, min=0.0, max=1.0).tag(sync=True)
    feature = traitlets.List(traitlets.Float(), _START).tag(sync=True)
    angle = traitlets.Float(0.3, min=0.0, max=2 * math.pi).tag(sync=True)
    turning = traitlets.Bool(True).tag(sync=True)
    line = traitlets.Dict(line_settings(), read_only=True).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._fit()

    @traitlets.validate("feature")
    def _unit(self, proposal: Any) -> list[float]:
        return _fitted(proposal["value"], self.k)

    @traitlets.observe("k")
    def _fit(self, _: Any = None) -> None:
        self.feature = _fitted(self.feature, self.k)

    def scores(self) -> FeatureScores:
        """The feature's component scores, by the library.

        Returns:
            The three components, the nearest vertex and the feature's height.
        """
        z = torch.tensor([self.feature], dtype=torch.float64)
        centroid, radius = torch.zeros_like(z), torch.tensor([self.radius], dtype=torch.float64)
        centroid[0, -1] = 1
        frame = torch.eye(self.k + 1, self.k, dtype=torch.float64)
        corners = regular_simplex(self.k, torch.float64)
        cosine, distance = score_rigid(z, centroid, radius, frame, corners)
        vertices = rigid_vertices(centroid, radius, frame)[0]
        with torch.no_grad():
            height = first_axis_line(self.k + 1)(z).item()
        return FeatureScores(
            feature=cosine.item(),
            cantor=-((height - self.prototype) ** 2),
            crystal=-distance.item(),
            vertex=int((vertices - z).norm(dim=-1).argmin()),
            height=height,
        )

    def still(self) -> Plate:
        """The simplex and the feature in the present view.

        Returns:
            A drawing without the controls, its scores in its words.
        """
        scores = self.scores()
        feature = torch.tensor(self.feature, dtype=torch.float64).numpy()
        return simplex_and_feature(
            regular_simplex(self.k, torch.float64).numpy(),
            self.radius,
            feature,
            self.angle,
            f"Its scores are feature {scores.feature:.2f}, cantor {scores.cantor:.2f} and crystal "
            f"{scores.crystal:.2f}, with vertex {scores.vertex} nearest.",
        )


def _fitted(feature: list[float], k: int) -> list[float]:
    *flat, axis = feature or [0.0]
    fitted = [*flat[:k], *[0.0] * (k - len(flat)), axis]
    length = math.hypot(*fitted)
    if not (length > 0 and math.isfinite(length)):
        raise traitlets.TraitError(f"a feature needs finite numbers other than 0, not {feature}")
    # A unit vector is left as it is, or the figure and a kernel would correct each other for ever.
    return fitted if abs(length - 1) < 1e-12 else [value / length for value in fitted]
