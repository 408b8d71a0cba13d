"""The ladder: simple classifiers on the same features, scikit-learn where it has the method."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from geobasin.feature_set import FeatureSet, Split

# Decades from strong to weak regularisation; the validation rows choose.
_INVERSE_REGULARISATION = (0.1, 1.0, 10.0, 100.0)
_MOST_ITERATIONS = 1000


@dataclass(frozen=True)
class Rung:
    """One classifier of the ladder, trained.

    Attributes:
        name: what it is.
        predictions: predicted classes of the reported split, [N] int64.
        accuracy: share of them that are right.
        setting: what the validation rows chose, in words; empty where nothing was chosen.
        seconds: duration of the training, the choice included.
    """

    name: str
    predictions: np.ndarray
    accuracy: float
    setting: str
    seconds: float


def nearest_class_mean(features: FeatureSet) -> Rung:
    """Nearest class mean of the normalised features."""
    return _rung("nearest class mean", features, lambda: (_normalised(NearestCentroid()), ""))


def linear_discriminant(features: FeatureSet) -> Rung:
    """Linear discriminant analysis with Ledoit-Wolf shrinkage."""
    return _rung(
        "linear discriminant",
        features,
        lambda: (_normalised(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")), ""),
    )


def logistic_regression(features: FeatureSet) -> Rung:
    """Logistic regression on normalised features, C chosen on the validation rows."""

    def choose() -> tuple[Any, str]:
        best, setting, top = None, "", -1.0
        for strength in _INVERSE_REGULARISATION:
            model = _normalised(LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS))
            _fit(model, features.train)
            accuracy = float(model.score(*_arrays(features.val)))
            if accuracy > top:
                best, setting, top = model, f"C = {strength:g}", accuracy
        return best, setting

    return _rung("logistic regression", features, choose)


LADDER: tuple[Callable[[FeatureSet], Rung], ...] = (
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
    shares = np.atleast_2d(correct).mean(0)
    generator = np.random.default_rng(seed)
    rows = generator.integers(len(shares), size=(draws, len(shares)))
    low, high = np.percentile(shares[rows].mean(1), [2.5, 97.5])
    return float(low), float(high)


def _rung(name: str, features: FeatureSet, choose: Callable[[], tuple[Any, str]]) -> Rung:
    started = perf_counter()
    model, setting = choose()
    if not setting:
        _fit(model, features.train)
    seconds = perf_counter() - started
    rows, labels = _arrays(features.test or features.val)
    predictions = model.predict(rows)
    return Rung(name, predictions, float((predictions == labels).mean()), setting, seconds)


def _fit(model: Any, train: Split) -> None:
    with warnings.catch_warnings():
        # A rung that stopped early, or saw a constant feature, is judged by its accuracy.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="self.within_class_std_dev_")
        model.fit(*_arrays(train))


def _normalised(model: Any) -> Any:
    # GeoFractalDavid sees directions only, so the ladder does too.
    return make_pipeline(Normalizer(), model)


def _arrays(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.features.cpu().numpy(), split.labels.cpu().numpy()
