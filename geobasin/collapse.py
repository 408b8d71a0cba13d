"""Neural collapse: how far features have contracted to class means that form a regular simplex.

The four measures of Papyan, Han and Donoho (2020). Every class counts the same, whatever its number
of rows, which for classes of equal size is what the paper does.
"""

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from geobasin.errors import GeoBasinError
from geobasin.feature_set import Split
from geobasin.model import GeoFractalDavid

_ROWS = 4096


@torch.no_grad()
def collapse_table(model: GeoFractalDavid, split: Split) -> pd.DataFrame:
    """Neural-collapse measures of the projected features z, at every scale.

    The paper measures them on the training rows. As classifier NC3 takes the centroids of the
    class simplices as the feature component sees them, at length 1; NC4 takes the decisions of
    the scale on its own, with all its components.

    Args:
        model: trained.
        split: rows with labels, on the model's device.

    Returns:
        A row for each scale: ``nc1``, ``nc2_norms``, ``nc2_angles``, ``nc3_distance``,
        ``nc3_cosine``, ``nc4`` (see :func:`variability`, :func:`equinorm`,
        :func:`equiangularity`, :func:`self_duality`, :func:`nearest_mean_agreement`). Collapse is
        complete where ``nc3_cosine`` and ``nc4`` are 1 and all others 0.

    Raises:
        GeoBasinError: fewer than two classes in the split.
    """
    rows = {}
    for scale in model.scales:
        head = model.head(scale)
        points, decisions = [], []
        for features in split.features.split(_ROWS):
            directions = F.normalize(features, dim=-1)
            points.append(head.project(directions).double())
            decisions.append(head(directions, model.get_cantor_values(features)).argmax(1))
        z = torch.cat(points)
        means, present = class_means(z, split.labels)
        centred = means - means.mean(0)
        centroids = F.normalize(head.vertices().mean(1)[present].double(), dim=-1)
        distance, cosine = self_duality(centred, centroids - centroids.mean(0))
        rows[scale] = {
            "nc1": variability(z, split.labels),
            "nc2_norms": equinorm(centred),
            "nc2_angles": equiangularity(centred),
            "nc3_distance": distance,
            "nc3_cosine": cosine,
            "nc4": nearest_mean_agreement(z, split.labels, torch.cat(decisions)),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scale")


def class_means(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the classes that have rows.

    Args:
        points: [N, s].
        labels: [N] int64.

    Returns:
        Means, [P, s], and the P classes that are present, ascending.

    Raises:
        GeoBasinError: fewer than two classes.
    """
    present, codes, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(present) < 2:
        raise GeoBasinError("neural collapse needs rows of 2 classes or more; give a larger split")
    sums = points.new_zeros(len(present), points.shape[1]).index_add_(0, codes, points)
    return sums / counts.unsqueeze(1), present


def variability(points: Tensor, labels: Tensor) -> float:
    """NC1: variability within the classes against that between them, ``Tr(S_W pinv(S_B)) / C``.

    S_W is the mean of the classes' covariances, S_B the covariance of the class means.

    Args:
        points: [N, s]; float64 where small values matter.
        labels: [N] int64.

    Returns:
        0 (every row is its class's mean) and up; infinite where all class means are one point and
        the rows are not.

    Raises:
        GeoBasinError: fewer than two classes.
    """
    means, present = class_means(points, labels)
    codes = torch.searchsorted(present, labels)
    centred = means - means.mean(0)
    residuals = points - means[codes]
    weights = (1 / torch.bincount(codes)[codes] / len(present)).unsqueeze(1).to(points)
    within = residuals.T @ (weights * residuals)
    between = centred.T @ centred / len(present)
    if not within.any():
        return 0.0
    if not between.any():
        return float("inf")
    return float((within * torch.linalg.pinv(between, hermitian=True)).sum()) / len(present)


def equinorm(centred: Tensor) -> float:
    """NC2, lengths: standard deviation of the centred class means' lengths over their mean.

    Args:
        centred: class means less their mean, [C, s].

    Returns:
        0 (all of one length) and up.
    """
    norms = centred.norm(dim=-1)
    return float(norms.std(correction=0) / norms.mean())


def equiangularity(centred: Tensor) -> float:
    """NC2, angles: mean of ``|cos(m_c, m_d) + 1/(C - 1)|`` over pairs of centred class means.

    -1/(C - 1) is the cosine of any two vertices of a regular simplex, the widest angle that C
    directions can all have.

    Args:
        centred: class means less their mean, [C, s].

    Returns:
        0 (regular simplex) to 1 + 1/(C - 1).
    """
    count = len(centred)
    directions = F.normalize(centred, dim=-1)
    first, second = torch.triu_indices(count, count, offset=1)
    cosines = (directions @ directions.T)[first, second]
    return float((cosines + 1 / (count - 1)).abs().mean())


def self_duality(centred: Tensor, classifier: Tensor) -> tuple[float, float]:
    """NC3: how well the classifier's vectors and the centred class means agree, up to one factor.

    Args:
        centred: class means less their mean, M, [C, s].
        classifier: one vector a class less their mean, W, [C, s].

    Returns:
        Distance ``|W/|W| - M/|M||^2`` in Frobenius norms, 0 (the same) to 4 (opposite), and the
        mean over the classes of ``cos(w_c, m_c)``, -1 to 1.
    """
    distance = (classifier / classifier.norm() - centred / centred.norm()).square().sum()
    return float(distance), float(F.cosine_similarity(classifier, centred, dim=-1).mean())


def nearest_mean_agreement(points: Tensor, labels: Tensor, decisions: Tensor) -> float:
    """NC4: share of the rows that a classifier gives to the class with the nearest mean.

    Args:
        points: [N, s].
        labels: [N] int64, for the means.
        decisions: what the classifier says, [N] int64.

    Returns:
        Share, 0 to 1.

    Raises:
        GeoBasinError: fewer than two classes.
    """
    means, present = class_means(points, labels)
    nearest = torch.cat([torch.cdist(rows, means).argmin(1) for rows in points.split(_ROWS)])
    return float((present[nearest] == decisions).double().mean())
