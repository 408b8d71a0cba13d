"""GeoFractalDavid: class basins scored by centroid, Cantor place and nearest vertex."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geobasin.cantor import CantorStaircase
from geobasin.card import model_card
from geobasin.errors import GeoBasinError
from geobasin.head import COMPONENTS, GeometricHead, Simplices
from geobasin.hub import HubModel

PUBLISHED_SCALES = (384, 512, 768, 1024, 1280)


class BasinScores(NamedTuple):
    """Everything the loss and the probes read from one pass.

    Attributes:
        logits: fused compatibilities, [B, C].
        scale_logits: compatibilities at each scale, [S, B, C].
        cantor_values: kappa, [B].
        digits: soft first ternary digit of each place, [B, 3].
        cantor_prototypes: each class's place at each scale, [S, C].
    """

    logits: Tensor
    scale_logits: Tensor
    cantor_values: Tensor
    digits: Tensor
    cantor_prototypes: Tensor


class GeoFractalDavid(nn.Module, HubModel):
    """Multi-scale geometric basin classifier over frozen features.

    With ``simplices="free"``, ``levels=1``, ``reach=0.3`` and ``positions = i/(B-1)`` this is the
    published model (GeoFractalDavid-Basin-k12, source document 000), state dict included.

    Args:
        feature_dim: width D of the features.
        num_classes: C, at least 2.
        k: dimension of a class's simplex, 1 to the smallest scale.
        scales: dimensions s, each once.
        alpha_init: start of the learnable middle height of the Cantor staircase.
        tau: temperature of the ternary digits, above 0.
        simplices: ``"rigid"`` or ``"free"``, see :class:`GeometricHead`.
        levels: depth of the staircase.
        reach: how far a feature moves along the Cantor line.
        components: those that take part, for ablations.

    Raises:
        GeoBasinError: a setting outside its range.
    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        k: int = 12,
        scales: Sequence[int] = PUBLISHED_SCALES,
        alpha_init: float = 0.5,
        tau: float = 0.25,
        simplices: Simplices = "rigid",
        levels: int = 4,
        reach: float = 0.5,
        components: Sequence[str] = COMPONENTS,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise GeoBasinError(f"a classifier needs at least 2 classes, not {num_classes}")
        if not scales or len(set(scales)) != len(scales) or min(scales) < 1:
            raise GeoBasinError(f"scales must be distinct positive numbers, not {list(scales)}")
        if simplices not in ("rigid", "free"):
            raise GeoBasinError(f"simplices must be 'rigid' or 'free', not '{simplices}'")
        self.settings: dict[str, Any] = {
            "feature_dim": feature_dim,
            "num_classes": num_classes,
            "k": k,
            "scales": list(scales),
            "alpha_init": alpha_init,
            "tau": tau,
            "simplices": simplices,
            "levels": levels,
            "reach": reach,
            "components": list(components),
        }
        self.scales = tuple(scales)
        self.num_classes = num_classes
        self.cantor_stairs = CantorStaircase(feature_dim, alpha_init, tau, levels, reach)
        self.heads = nn.ModuleDict(
            {
                str(scale): GeometricHead(feature_dim, scale, num_classes, k, simplices, components)
                for scale in scales
            }
        )
        self.fusion_weights = nn.Parameter(torch.ones(len(scales)))

    def card_text(self, **facts: Any) -> str:
        """The model card, from the model's own numbers and those of its run.

        Args:
            facts: arguments of :func:`geobasin.card.model_card`, such as ``run``.

        Returns:
            Markdown.
        """
        return model_card(self, **facts)

    def head(self, scale: int) -> GeometricHead:
        """The head of one scale."""
        head = self.heads[str(scale)]
        assert isinstance(head, GeometricHead)
        return head

    def score(self, features: Tensor, positions: Tensor | None = None) -> BasinScores:
        """One pass with everything that the loss and the probes need.

        Args:
            features: [B, D]; their length does not matter.
            positions: base places on the Cantor line, [B] in [0, 1]; 1/2 for all where not given.

        Returns:
            Logits, per-scale logits, Cantor values, digits and prototypes.

        Raises:
            GeoBasinError: the features are not [B, D].
        """
        features = self._directions(features)
        # Autocast is for the products with matrices. A place on the line in bfloat16 would have
        # 256 steps for all the classes, and the sum over the scales is small beside the rest.
        full_precision = torch.autocast(features.device.type, enabled=False)
        with full_precision:
            places = self.cantor_stairs.place(features, positions)
            cantor_values = self.cantor_stairs.staircase(places)
            digits = self.cantor_stairs.digit_distribution(places)
        heads = [self.head(scale) for scale in self.scales]
        scale_logits = torch.stack([head(features, cantor_values) for head in heads])
        fusion = torch.softmax(self.fusion_weights, dim=0)
        with full_precision:
            logits = torch.einsum("s,sbc->bc", fusion, scale_logits)
        return BasinScores(
            logits=logits,
            scale_logits=scale_logits,
            cantor_values=cantor_values,
            digits=digits,
            cantor_prototypes=torch.stack([head.cantor_prototypes for head in heads]),
        )

    def forward(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """Fused compatibilities of features with every class.

        Args:
            features: [B, D]; their length does not matter.
            positions: as in :meth:`score`.

        Returns:
            Logits, [B, C]. A row's logits do not depend on the other rows.

        Raises:
            GeoBasinError: the features are not [B, D].
        """
        return self.score(features, positions).logits

    def get_scale_logits(
        self, features: Tensor, positions: Tensor | None = None
    ) -> dict[int, Tensor]:
        """Logits of each scale on its own: ``{scale: [B, C]}``."""
        return dict(zip(self.scales, self.score(features, positions).scale_logits, strict=True))

    def get_cantor_values(self, features: Tensor, positions: Tensor | None = None) -> Tensor:
        """Cantor values kappa of features [B, D]: [B]."""
        values: Tensor = self.cantor_stairs(self._directions(features), positions)
        return values

    def get_cantor_interval_distribution(
        self, features: Tensor, positions: Tensor | None = None
    ) -> dict[str, float]:
        """Mean share of the left, middle and right third over features [B, D], summing to 1."""
        places = self.cantor_stairs.place(self._directions(features), positions)
        shares = self.cantor_stairs.digit_distribution(places).mean(0).tolist()
        return dict(zip(("left", "middle", "right"), shares, strict=True))

    def get_geometric_weights(self) -> dict[int, dict[str, float]]:
        """Weights of the components: ``{scale: {feature, cantor, crystal}}``, summing to 1."""
        return {
            scale: dict(
                zip(
                    COMPONENTS,
                    self.head(scale).component_weights().tolist(),
                    strict=True,
                )
            )
            for scale in self.scales
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state dict, naming the first key that differs where it is of another layout.

        Args:
            state_dict: names and tensors, as published for ``simplices="free"``.
            strict: refuse missing and unknown names.
            assign: keep the given tensors themselves.

        Returns:
            What torch returns: missing and unexpected names.

        Raises:
            GeoBasinError: a name or a shape differs.
        """
        own = super().state_dict()
        differing = [name for name in own if name not in state_dict] if strict else []
        differing += [name for name in state_dict if strict and name not in own]
        differing += [
            name
            for name in own
            if name in state_dict and own[name].shape != torch.as_tensor(state_dict[name]).shape
        ]
        if differing:
            raise GeoBasinError(
                f"the checkpoint has another layout than this model: '{differing[0]}' differs "
                f"({len(differing)} in all); build the model with the checkpoint's settings"
            )
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def _directions(self, features: Tensor) -> Tensor:
        expected = self.settings["feature_dim"]
        if features.ndim != 2 or features.shape[1] != expected:
            raise GeoBasinError(
                f"features have shape {list(features.shape)}, the model takes [rows, {expected}]"
            )
        return F.normalize(features, dim=-1)
