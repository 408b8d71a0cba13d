"""One scale of GeoFractalDavid: a projection, and class simplices to score its points against."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from geobasin.compatibility import compatibility
from geobasin.contraction import contract
from geobasin.errors import GeoBasinError
from geobasin.nearest import Products, distance, free_products, rigid_products
from geobasin.simplex import orthonormal_frame, regular_simplex, rigid_vertices, unit_directions

Simplices = Literal["rigid", "free"]
COMPONENTS = ("feature", "cantor", "crystal")
_INITIAL_RADIUS = 0.5


class GeometricHead(nn.Module):
    """One scale: projects features to the sphere in R^s and scores them against class simplices.

    Args:
        feature_dim: width D of the features.
        scale: dimension s.
        num_classes: C.
        k: dimension of a class's simplex, 1 to s.
        simplices: ``"rigid"``: centroid, radius and a frame shared by all classes;
            ``"free"``: every vertex a parameter, the published form.
        components: those that take part, for ablations; the others keep the weight 0.
        generator: source of randomness on the CPU.

    Raises:
        GeoBasinError: k larger than the scale, or components that are not known.
    """

    frame: Tensor
    corners: Tensor
    unused: Tensor

    def __init__(
        self,
        feature_dim: int,
        scale: int,
        num_classes: int,
        k: int,
        simplices: Simplices,
        components: Sequence[str] = COMPONENTS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not components or not set(components) <= set(COMPONENTS):
            known = ", ".join(COMPONENTS)
            raise GeoBasinError(f"components must be some of {known}, not {list(components)}")
        self.projection = nn.Sequential(
            nn.Linear(feature_dim, 2 * scale),
            nn.GELU(),
            nn.LayerNorm(2 * scale),
            nn.Linear(2 * scale, scale),
        )
        self.simplices = simplices
        frame = orthonormal_frame(scale, k, generator)
        centroids = unit_directions(num_classes, scale, generator)
        radii = torch.full((num_classes,), _INITIAL_RADIUS)
        if simplices == "rigid":
            self.centroids = nn.Parameter(centroids)
            self.log_radii = nn.Parameter(radii.log())
            self.register_buffer("frame", frame)
            self.register_buffer("corners", regular_simplex(k), persistent=False)
        else:
            self.class_prototypes = nn.Parameter(rigid_vertices(centroids, radii, frame))
        places = (torch.arange(num_classes) + 0.5) / num_classes
        self.cantor_prototypes = nn.Parameter(places)
        self.geo_weights = nn.Parameter(torch.zeros(3))
        unused = torch.tensor([name not in components for name in COMPONENTS])
        self.register_buffer("unused", unused, persistent=False)

    def project(self, features: Tensor) -> Tensor:
        """Project features [B, D] to points z on the unit sphere, [B, s]."""
        expand, _, norm, linear = self.projection
        assert isinstance(norm, nn.LayerNorm)
        assert isinstance(linear, nn.Linear)
        return contract(expand(features), norm, linear)

    def vertices(self) -> Tensor:
        """All class simplices, [C, k + 1, s]."""
        if self.simplices == "rigid":
            return rigid_vertices(self.centroids, self.log_radii.exp(), self.frame)
        return self.class_prototypes

    def class_centroids(self) -> Tensor:
        """Centroids of all class simplices, [C, s]."""
        return self.centroids if self.simplices == "rigid" else self.class_prototypes.mean(1)

    @torch.no_grad()
    def place_centroids(self, centroids: Tensor) -> None:
        """Move every class simplex so that its centroid is the one given.

        Args:
            centroids: [C, s].
        """
        if self.simplices == "rigid":
            self.centroids.copy_(centroids)
        else:
            self.class_prototypes.add_((centroids - self.class_centroids()).unsqueeze(1))

    def components(self, z: Tensor, cantor_values: Tensor) -> Tensor:
        """The three scores of every class.

        Args:
            z: projected features, [B, s], of length 1.
            cantor_values: kappa, [B].

        Returns:
            feature ``cos(z, centroid_c)``, cantor ``-(kappa - p_c)^2`` and crystal
            ``-min_j |z - v_cj|``, [3, B, C].
        """
        products = self._products(z)
        cosine = products.centroid / products.norm.clamp_min(1e-12)
        coherence = -((cantor_values.unsqueeze(1) - self.cantor_prototypes) ** 2)
        return torch.stack([cosine, coherence, -distance(products.squared)])

    def forward(self, features: Tensor, cantor_values: Tensor) -> Tensor:
        """Compatibility of features with every class: the softmax-weighted sum of the components.

        Args:
            features: [B, D], of length 1.
            cantor_values: kappa, [B].

        Returns:
            Compatibilities, [B, C].
        """
        products = self._products(self.project(features))
        weights = self.component_weights()
        return compatibility(products, cantor_values, self.cantor_prototypes, weights)

    def component_weights(self) -> Tensor:
        """Weights of feature, cantor and crystal, [3], at least 0 and summing to 1."""
        return torch.softmax(self.geo_weights.masked_fill(self.unused, -torch.inf), dim=0)

    def _products(self, z: Tensor) -> Products:
        if self.simplices == "rigid":
            radii = self.log_radii.exp()
            return rigid_products(z, self.centroids, radii, self.frame, self.corners)
        return free_products(z, self.class_prototypes)
