"""Tables of what a model has learned: prototypes, weights, alpha, and where the classes lie."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import kstest, spearmanr
from torch import Tensor

from geobasin.evaluation import evaluate
from geobasin.feature_set import FeatureSet, Split
from geobasin.head import COMPONENTS
from geobasin.model import GeoFractalDavid
from geobasin.simplex import cayley_menger_volume, edge_lengths, edge_spread
from geobasin.train import EpochRecord


def accuracy_table(model: GeoFractalDavid, features: FeatureSet) -> pd.DataFrame:
    """Accuracy of the fused logits and of every scale on its own.

    Args:
        model: trained.
        features: validation and, where there are any, test rows.

    Returns:
        Rows ``fused`` and the scales, a column for each split, fractions.
    """
    columns = {}
    for name, split in features.splits().items():
        if name != "train":
            result = evaluate(model, split)
            columns[name] = {"fused": result.accuracy} | {
                str(scale): share for scale, share in result.scale_accuracy.items()
            }
    return pd.DataFrame(columns).rename_axis("scale")


def prototype_table(model: GeoFractalDavid) -> pd.DataFrame:
    """Where each scale's Cantor prototypes lie.

    Args:
        model: any.

    Returns:
        A row for each scale: mean, std, min, max, and ``ks``, the Kolmogorov-Smirnov distance of
        the prototypes to the uniform distribution on [0, 1].
    """
    rows = {}
    for scale in model.scales:
        places = prototypes(model, scale)
        rows[scale] = {
            "mean": places.mean(),
            "std": places.std(ddof=1),
            "min": places.min(),
            "max": places.max(),
            "ks": kstest(places, "uniform").statistic,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scale")


def prototypes(model: GeoFractalDavid, scale: int) -> np.ndarray:
    """Cantor prototypes of one scale, [C] float64."""
    return model.head(scale).cantor_prototypes.detach().double().cpu().numpy()


def rank_agreement(model: GeoFractalDavid) -> pd.DataFrame:
    """Whether the scales order the classes alike: Spearman's rho of their prototypes.

    Args:
        model: any.

    Returns:
        Square table, scale by scale, -1 to 1.
    """
    places = {scale: prototypes(model, scale) for scale in model.scales}
    table = [
        [float(spearmanr(places[a], places[b]).statistic) for b in model.scales]
        for a in model.scales
    ]
    return pd.DataFrame(table, index=model.scales, columns=model.scales).rename_axis("scale")


def weight_table(model: GeoFractalDavid) -> pd.DataFrame:
    """Weights of feature, cantor and crystal at every scale; each row sums to 1."""
    return pd.DataFrame.from_dict(model.get_geometric_weights(), orient="index").rename_axis(
        "scale"
    )


def history_table(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """The run epoch by epoch.

    Args:
        history: of a run.

    Returns:
        A row for each epoch: every term of the loss, validation accuracy (fused and
        ``val_<scale>``), alpha, the rate and the seconds.
    """
    rows = [
        {
            "epoch": record.epoch,
            **record.terms,
            "val": record.val.accuracy,
            **{f"val_{scale}": share for scale, share in record.val.scale_accuracy.items()},
            "alpha": record.alpha,
            "lr": record.lr,
            "seconds": record.seconds,
        }
        for record in history
    ]
    return pd.DataFrame(rows).set_index("epoch")


def weight_history(history: Sequence[EpochRecord]) -> pd.DataFrame:
    """Weights of the components at every scale, epoch by epoch.

    Args:
        history: of a run.

    Returns:
        A row for each epoch and scale, a column for each component; each row sums to 1.
    """
    rows = {
        (record.epoch, scale): weights
        for record in history
        for scale, weights in record.geometric_weights.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["epoch", "scale"])


@torch.no_grad()
def drift_table(model: GeoFractalDavid) -> pd.DataFrame:
    """How far class simplices are from regular: 0 spread and volume ratio 1 for rigid ones.

    Args:
        model: any.

    Returns:
        A row for each scale. ``edge_spread``: standard deviation of a simplex's edge lengths over
        their mean, the mean over the classes, and ``edge_spread_most``: that of the least regular
        class. ``volume``: Cayley-Menger volume over that of the regular simplex with the same mean
        edge, the mean over the classes, and ``volume_least``: that of the flattest class.
    """
    rows = {}
    for scale in model.scales:
        vertices = model.head(scale).vertices().double()
        k = vertices.shape[1] - 1
        # The edge of the regular k-simplex with volume 1; without it k = 150 has volume 1e-284.
        log_edge = (math.lgamma(k + 1) - (math.log(k + 1) - k * math.log(2)) / 2) / k
        mean_edges = edge_lengths(vertices).mean(-1)
        volumes = cayley_menger_volume(vertices * (math.exp(log_edge) / mean_edges).view(-1, 1, 1))
        spread = edge_spread(vertices)
        rows[scale] = {
            "edge_spread": float(spread.mean()),
            "edge_spread_most": float(spread.max()),
            "volume": float(volumes.mean()),
            "volume_least": float(volumes.min()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scale")


@torch.no_grad()
def interval_table(model: GeoFractalDavid, features: FeatureSet) -> pd.DataFrame:
    """Mean share of the left, middle and right third, a row for each split."""
    rows = {
        name: model.get_cantor_interval_distribution(split.features)
        for name, split in features.splits().items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")


@torch.no_grad()
def cantor_order(model: GeoFractalDavid, class_names: Sequence[str], scale: int) -> pd.DataFrame:
    """The classes in the order of their prototypes at one scale.

    Args:
        model: any.
        class_names: C names.
        scale: one of the model's.

    Returns:
        A row for each class from left to right: ``place`` and ``gap`` to its left neighbour (for
        the first class, to 0).
    """
    places = prototypes(model, scale)
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    return pd.DataFrame(
        {"place": ordered, "gap": np.diff(ordered, prepend=0.0)},
        index=pd.Index([class_names[index] for index in order], name="class"),
    )


@torch.no_grad()
def removal_table(model: GeoFractalDavid, split: Split, alone: bool = False) -> pd.DataFrame:
    """What each component is worth: accuracy without it, or with it alone, nothing retrained.

    Args:
        model: trained.
        split: rows with labels.
        alone: keep one component in place of removing one.

    Returns:
        Column ``accuracy``, fractions; first row with all three components, then one for each.
    """
    word = "only" if alone else "without"
    kept = {"all components": torch.ones(len(COMPONENTS))}
    for index, name in enumerate(COMPONENTS):
        mask = torch.zeros(len(COMPONENTS)) if alone else torch.ones(len(COMPONENTS))
        mask[index] = 1.0 if alone else 0.0
        kept[f"{word} {name}"] = mask
    rows = {
        name: float((_masked_logits(model, split, mask).argmax(1) == split.labels).float().mean())
        for name, mask in kept.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["accuracy"])


def _masked_logits(model: GeoFractalDavid, split: Split, mask: Tensor) -> Tensor:
    directions = torch.nn.functional.normalize(split.features, dim=-1)
    cantor_values = model.get_cantor_values(split.features)
    fusion = torch.softmax(model.fusion_weights, dim=0)
    logits = torch.zeros(len(split), model.num_classes, device=split.features.device)
    for share, scale in zip(fusion, model.scales, strict=True):
        head = model.head(scale)
        weights = head.component_weights() * mask.to(head.geo_weights)
        components = head.components(head.project(directions), cantor_values)
        logits += share * torch.einsum("i,ibc->bc", weights, components)
    return logits


@torch.no_grad()
def cantor_variance_explained(model: GeoFractalDavid, split: Split) -> float:
    """Share of the Cantor coordinate's variance that the classes explain, eta squared.

    Args:
        model: any.
        split: rows with labels.

    Returns:
        Between-class over total sum of squares of kappa, 0 to 1.
    """
    return variance_explained(model.get_cantor_values(split.features), split.labels)


def variance_explained(values: Tensor, labels: Tensor) -> float:
    """Eta squared: between-class over total sum of squares.

    Args:
        values: [N].
        labels: [N] int64, from 0.

    Returns:
        0 (classes share one mean) to 1 (each class is one point).
    """
    values = values.double()
    counts = torch.bincount(labels)
    sums = torch.zeros(len(counts), dtype=torch.float64, device=values.device)
    means = sums.index_add_(0, labels, values) / counts.clamp_min(1)
    between = (counts * (means - values.mean()).square()).sum()
    return float(between / (values - values.mean()).square().sum())
