"""Does a model confuse the classes that lie next to each other on the Cantor line?"""

import numpy as np
import pandas as pd
import torch

from geobasin.baselines import bootstrap_interval
from geobasin.feature_set import Split
from geobasin.model import GeoFractalDavid
from geobasin.probe import prototypes

_ROWS = 4096
_MOST_ROUNDS = 1_000


@torch.no_grad()
def neighbour_confusion(model: GeoFractalDavid, split: Split) -> pd.DataFrame:
    """Share of the errors that go to a neighbour on the Cantor line, against chance.

    Neighbours are classes whose prototypes are next to each other in their order. An error is a
    row to which the fused logits give another class than its own; only errors are counted.

    Args:
        model: trained.
        split: rows with labels, on the model's device.

    Returns:
        A row for each scale, which has a line of its own. ``errors``: their number;
        ``neighbours``: share of them that go to a neighbour, with the ends ``low`` and ``high`` of
        its 95 % bootstrap interval over the errors; ``chance``: that share if an error's own and
        predicted class were independent, for classes as often missed and as often predicted
        wrongly as here (see :func:`independent_errors`); ``ratio``: neighbours over chance. NaN
        where there is no error, or where chance is 0.
    """
    model.eval()
    predicted = torch.cat([model(rows).argmax(1) for rows in split.features.split(_ROWS)])
    predictions, labels = predicted.cpu().numpy(), split.labels.cpu().numpy()
    errors = confusion_counts(labels, predictions, model.num_classes)
    np.fill_diagonal(errors, 0)
    expected = independent_errors(errors)
    wrong = predictions != labels
    rows = {}
    for scale in model.scales:
        places = prototypes(model, scale)
        ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
        adjacent = np.abs(ranks[:, None] - ranks) == 1
        near = adjacent[labels[wrong], predictions[wrong]]
        rows[scale] = _compare(near, float(expected[adjacent].sum()))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("scale")


def _compare(near: np.ndarray, expected: float) -> dict[str, float]:
    if not near.size:
        unknown = float("nan")
        shares = dict.fromkeys(("neighbours", "low", "high", "chance", "ratio"), unknown)
        return {"errors": 0, **shares}
    share, chance = float(near.mean()), expected / near.size
    low, high = bootstrap_interval(near)
    return {
        "errors": near.size,
        "neighbours": share,
        "low": low,
        "high": high,
        "chance": chance,
        "ratio": share / chance if chance > 0 else float("nan"),
    }


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often each class (row) was given each class (column).

    Args:
        labels: [N] integers in [0, C).
        predictions: [N] integers in [0, C).
        classes: C.

    Returns:
        Counts, [C, C] int64.
    """
    counts = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return counts.reshape(classes, classes)


def independent_errors(errors: np.ndarray) -> np.ndarray:
    """Expected confusions under quasi-independence: the same margins, no other preference.

    ``E_ij = a_i b_j`` for i != j and 0 on the diagonal, with a and b such that the sums of all
    rows and columns are the errors' own; found by iterative proportional fitting (Deming, Stephan
    1940). They are the likeliest counts if the classes say nothing about each other.

    Args:
        errors: counts with a diagonal of zeros, [C, C].

    Returns:
        Expected counts, [C, C] float64; with the margins of the errors, to about a thousandth where
        they can only be met in the limit, else to a millionth.
    """
    rows, columns = errors.sum(1), errors.sum(0)
    fitted = np.outer(rows, columns).astype(np.float64)
    np.fill_diagonal(fitted, 0.0)
    for _ in range(_MOST_ROUNDS):
        fitted *= _ratio(rows, fitted.sum(1))[:, None]
        fitted *= _ratio(columns, fitted.sum(0))
        if np.abs(fitted.sum(1) - rows).max() <= 1e-6 * max(rows.sum(), 1):
            break
    return fitted


def _ratio(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.divide(wanted, found, out=np.zeros(len(found)), where=found > 0)
