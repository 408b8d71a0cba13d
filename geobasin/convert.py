"""Between rigid simplices and the published, free layout: exact, or refused with the reason."""

import torch
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.model import GeoFractalDavid
from geobasin.simplex import regular_simplex, rigid_vertices

# Relative to the size of the simplices; float32 leaves a few 1e-7.
_EXACT = 1e-5


@torch.no_grad()
def to_free(model: GeoFractalDavid) -> GeoFractalDavid:
    """The same classifier with every vertex a parameter: the published layout.

    This is always exact: a rigid simplex is a simplex.

    Args:
        model: rigid or free.

    Returns:
        A free model of its own, in evaluation mode, on the same device.
    """
    free = _sibling(model, "free")
    for scale in model.scales:
        free.head(scale).class_prototypes.copy_(model.head(scale).vertices())
    return free


@torch.no_grad()
def to_rigid(model: GeoFractalDavid) -> GeoFractalDavid:
    """The same classifier with rigid simplices, where its free simplices are such.

    They are if every class's simplex is regular and all of them have one orientation: then
    ``U`` is the orthonormal part of ``sum_c (v_c - mu_c)^T x`` and ``r_c`` the length along it.

    Args:
        model: rigid or free.

    Returns:
        A rigid model of its own, in evaluation mode, on the same device.

    Raises:
        GeoBasinError: a simplex is not rigid; the message names the scale and by how much.
    """
    rigid = _sibling(model, "rigid")
    for scale in model.scales:
        head = rigid.head(scale)
        vertices = model.head(scale).vertices()
        centroids, radii, frame = rigid_parts(vertices)
        # A simplex turned inside out would need a negative radius.
        radii = radii.clamp_min(torch.finfo(radii.dtype).tiny)
        error = (rigid_vertices(centroids, radii, frame) - vertices).abs().max()
        size = (vertices - centroids.unsqueeze(1)).norm(dim=-1).mean()
        if not error <= _EXACT * size:
            raise GeoBasinError(
                f"the simplices at scale {scale} are not rigid: a vertex is off by "
                f"{float(error / size):.2%} of their size; keep simplices='free'"
            )
        head.centroids.copy_(centroids)
        head.log_radii.copy_(radii.log())
        head.frame.copy_(frame)
    return rigid


def rigid_parts(vertices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Centroids, radii and shared frame that come closest to given simplices.

    Args:
        vertices: [C, k + 1, s].

    Returns:
        mu [C, s], r [C] and U [s, k] with orthonormal columns.
    """
    centroids = vertices.mean(1)
    around = vertices - centroids.unsqueeze(1)
    corners = regular_simplex(vertices.shape[1] - 1, vertices.dtype).to(vertices.device)
    left, _, right = torch.linalg.svd(
        torch.einsum("cjs,jk->sk", around, corners), full_matrices=False
    )
    frame = left @ right
    radii = torch.einsum("cjs,js->c", around, corners @ frame.T) / len(corners)
    return centroids, radii, frame


def _sibling(model: GeoFractalDavid, simplices: str) -> GeoFractalDavid:
    sibling = GeoFractalDavid(**model.settings | {"simplices": simplices})
    own = sibling.state_dict()
    shared = {name: value for name, value in model.state_dict().items() if name in own}
    torch.nn.Module.load_state_dict(sibling, shared, strict=False)
    return sibling.to(model.fusion_weights.device).eval()
