"""The live Cantor prototypes of chapter 4: who stands where on each scale's line."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import traitlets

from geobasin.errors import GeoBasinError
from geobasin.figures.prototypes import sorted_curves
from geobasin.figures.style import Plate
from geobasin.model import GeoFractalDavid
from geobasin.probe import prototypes
from geobasin.widgets.base import LiveFigure, script, stylesheet


class PrototypesFigure(LiveFigure):
    """The sorted prototypes of a model, with a class and its neighbours picked out by name.

    Args:
        model: trained.
        class_names: C names.
        **traits: scale and rank to begin with.

    Attributes:
        scales: the model's.
        prototypes: the places of the classes, [C] for each scale.
        class_names: C names.
        scale: the one whose order is read, one of the scales.
        rank: place of the class that is read in that order, 1 (lowest) to C.

    Raises:
        GeoBasinError: there is not one name for each class.
        TraitError: scale or rank is none of the model's.
    """

    _esm: ClassVar[str] = script("prototypes.js")
    _css: ClassVar[str] = stylesheet()

    scales = traitlets.List(traitlets.Int()).tag(sync=True)
    prototypes = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    scale = traitlets.Int().tag(sync=True)
    rank = traitlets.Int(1, min=1).tag(sync=True)

    def __init__(self, model: GeoFractalDavid, class_names: Sequence[str], **traits: Any) -> None:
        if len(class_names) != model.num_classes:
            raise GeoBasinError(
                f"PrototypesFigure: {len(class_names)} class names for {model.num_classes} "
                "classes; give one for each"
            )
        super().__init__(
            scales=list(model.scales),
            prototypes=[prototypes(model, scale).tolist() for scale in model.scales],
            class_names=list(class_names),
            **{"scale": model.scales[0], **traits},
        )

    @traitlets.validate("scale")
    def _one_of_the_scales(self, proposal: Any) -> int:
        if proposal["value"] not in self.scales:
            raise traitlets.TraitError(f"scale {proposal['value']} is none of {self.scales}")
        return proposal["value"]

    @traitlets.validate("rank")
    def _one_of_the_ranks(self, proposal: Any) -> int:
        if proposal["value"] > len(self.class_names):
            raise traitlets.TraitError(
                f"rank {proposal['value']} is above the {len(self.class_names)} classes"
            )
        return proposal["value"]

    def still(self) -> Plate:
        """The sorted curves of all scales.

        Returns:
            A drawing without names and controls.
        """
        places = zip(self.scales, self.prototypes, strict=True)
        return sorted_curves({scale: np.array(values) for scale, values in places})
