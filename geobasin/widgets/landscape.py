"""The basin landscape of chapter 3."""

import math
from typing import Any, ClassVar

import torch
import traitlets

from geobasin.figures.landscape import front, landscape
from geobasin.figures.style import Plate
from geobasin.head import GeometricHead
from geobasin.simplex import regular_simplex
from geobasin.widgets.base import LiveFigure, script, stylesheet
from geobasin.widgets.line import first_axis_line, line_settings

# The first three stand round the disc, the others fill the gaps.
_CENTRES = [(-0.45, 0.4), (0.5, 0.4), (0.0, -0.5), (0.65, -0.3), (-0.65, -0.25)]


class LandscapeFigure(LiveFigure):
    """Basins of 3 to 5 class triangles on the front of the unit sphere in R^3, seen as a disc.

    A place (x, y) of the disc is the point ``z = (x, y, sqrt(1 - x^2 - y^2))``. All triangles
    (k = 2) share the frame of the first two axes; a class's Cantor prototype is the height of its
    own centroid, whose place is read along the first axis. A place belongs to the classes with the
    probabilities ``softmax(g / T)`` of its compatibilities g.

    Attributes:
        classes: how many of the centres take part, 3 to 5.
        centres: places (x, y) of the five centroids, of length at most 1.
        radius: of every triangle, 0.05 to 0.6.
        feature: learned number whose softmax with the next two weighs the cosine, -4 to 4.
        cantor: the same for the Cantor coherence.
        crystal: the same for the nearest vertex.
        temperature: T, 0.01 to 1.
        point: the place (x, y) whose probabilities are told, of length at most 1.
        line: settings of the Cantor line.
    """

    _esm: ClassVar[str] = script("cantor.js", "basins.js", "landscape.js")
    _css: ClassVar[str] = stylesheet()

    classes = traitlets.Int(3, min=3, max=5).tag(sync=True)
    centres = traitlets.List(
        traitlets.Tuple(traitlets.Float(), traitlets.Float()), _CENTRES, minlen=5, maxlen=5
    ).tag(sync=True)
    radius = traitlets.Float(0.35, min=0.05, max=0.6).tag(sync=True)
    feature = traitlets.Float(0.0, min=-4.0, max=4.0).tag(sync=True)
    cantor = traitlets.Float(0.0, min=-4.0, max=4.0).tag(sync=True)
    crystal = traitlets.Float(0.0, min=-4.0, max=4.0).tag(sync=True)
    temperature = traitlets.Float(0.1, min=0.01, max=1.0).tag(sync=True)
    point = traitlets.Tuple(traitlets.Float(), traitlets.Float(), default_value=(0.1, 0.15)).tag(
        sync=True
    )
    line = traitlets.Dict(line_settings(), read_only=True).tag(sync=True)

    @traitlets.validate("point", "centres")
    def _inside(self, proposal: Any) -> Any:
        given = proposal["value"]
        for place in [given] if proposal["trait"].name == "point" else given:
            if not math.hypot(*place) <= 1:
                raise traitlets.TraitError(f"a place is at most 1 from the middle; {place} is not")
        return given

    def head(self) -> GeometricHead:
        """The class triangles as one scale of the library's model.

        Returns:
            A head with ``scale=3`` and ``k=2`` in double precision; its projection is not used.
        """
        head = GeometricHead(3, 3, self.classes, 2, "rigid").double()
        centroids = front(torch.tensor(self.centres[: self.classes], dtype=torch.float64))
        numbers = [self.feature, self.cantor, self.crystal]
        with torch.no_grad():
            head.centroids.copy_(centroids)
            head.log_radii.fill_(math.log(self.radius))
            head.frame.copy_(torch.eye(3, 2))
            head.corners.copy_(regular_simplex(2, torch.float64))
            head.geo_weights.copy_(torch.tensor(numbers, dtype=torch.float64))
            head.cantor_prototypes.copy_(first_axis_line(3)(centroids))
        return head

    def still(self) -> Plate:
        """The landscape as it stands.

        Returns:
            A drawing without the controls, the point's probabilities in its words.
        """
        return landscape(self.head(), first_axis_line(3), self.temperature, self.point)
