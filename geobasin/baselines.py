"""Simple classifiers on the same features, from scikit-learn, and the interval of an accuracy."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from geobasin.contest import Fitted, Method, Outcome, contest
from geobasin.feature_set import FeatureSet, Split

# Decades from strong to weak regularisation; the validation rows choose.
_INVERSE_REGULARISATION = (0.1, 1.0, 10.0, 100.0)
_MOST_ITERATIONS = 1000


def _method(name: str, models: dict[str, Callable[[], Any]]) -> Method:
    def fit(
        features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
    ) -> Fitted:
        # GeoFractalDavid sees directions only, so the ladder does too.
        model = make_pipeline(Normalizer(), models[setting]())
        with warnings.catch_warnings():
            # A rung that stopped early, or saw a constant feature, is judged by its accuracy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="self.within_class_std_dev_")
            model.fit(*_arrays(features.train))
        on_epoch()
        return Fitted(_parameters(model[-1]), lambda split: model.predict(_arrays(split)[0]))

    return Method(name, fit, tuple(models))


def _logistic(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)


METHODS: tuple[Method, ...] = (
    _method("nearest class mean", {"": NearestCentroid}),
    _method(
        "linear discriminant",
        {"": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")},
    ),
    _method(
        "logistic regression",
        {f"C = {strength:g}": partial(_logistic, strength) for strength in _INVERSE_REGULARISATION},
    ),
)


def nearest_class_mean(features: FeatureSet) -> Outcome:
    """Nearest class mean of the normalised features."""
    return contest(METHODS[0], features)


def linear_discriminant(features: FeatureSet) -> Outcome:
    """Linear discriminant analysis with Ledoit-Wolf shrinkage."""
    return contest(METHODS[1], features)


def logistic_regression(features: FeatureSet) -> Outcome:
    """Logistic regression on normalised features, C chosen on the validation rows."""
    return contest(METHODS[2], features)


LADDER: tuple[Callable[[FeatureSet], Outcome], ...] = (
    nearest_class_mean,
    linear_discriminant,
    logistic_regression,
)


def bootstrap_interval(
    correct: np.ndarray, seed: int = 0, draws: int = 2000
) -> tuple[float, float]:
    """95 % percentile interval of an accuracy, by resampling the rows.

    Args:
        correct: [N] or, with a row for each seed, [seeds, N]; true where a prediction is right.
        seed: of the resampling.
        draws: number of resamples.

    Returns:
        Low and high end, fractions. Rows are resampled together for all seeds.
    """
    low, high = bootstrap_intervals([np.atleast_2d(correct).mean(0)], seed, draws)[0]
    return float(low), float(high)


def bootstrap_intervals(
    shares: Sequence[np.ndarray] | np.ndarray, seed: int = 0, draws: int = 2000
) -> np.ndarray:
    """95 % percentile intervals of several means over the same rows, resampled together.

    With the difference of two methods' ``correct`` as one of the means this is the paired
    bootstrap: what both find easy or hard cancels (Efron, Tibshirani 1993).

    Args:
        shares: [M, N], one mean's rows each.
        seed: of the resampling.
        draws: number of resamples.

    Returns:
        Low and high ends, [M, 2].
    """
    values = np.asarray(shares, dtype=np.float64)
    rows = values.shape[1]
    generator = np.random.default_rng(seed)
    means = np.empty((draws, len(values)))
    for draw in range(draws):
        # How often a row was drawn is all that a mean needs to know.
        counts = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        means[draw] = values @ counts / rows
    return np.percentile(means, [2.5, 97.5], axis=0).T


def _parameters(model: Any) -> int:
    learned = (getattr(model, name, None) for name in ("centroids_", "coef_", "intercept_"))
    return sum(int(array.size) for array in learned if array is not None)


def _arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.features.cpu().numpy(), split.labels.cpu().numpy()
