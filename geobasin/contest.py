"""One classifier, trained fairly: its setting chosen on the validation rows, its cost measured."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from geobasin.energy import EnergyMeter, EnergyWindow
from geobasin.feature_set import FeatureSet, Split


@dataclass(frozen=True)
class Fitted:
    """What one fit leaves behind.

    Attributes:
        parameters: count of learned numbers.
        predict: predicted classes of a split, [N] int64.
    """

    parameters: int
    predict: Callable[[Split], np.ndarray]


# Features, one of the settings, the seed, and a call at the end of every epoch.
Fit = Callable[[FeatureSet, str, int, Callable[[], object]], Fitted]


@dataclass(frozen=True)
class Method:
    """A classifier of the ladder, not yet trained.

    Attributes:
        name: what it is.
        fit: trains it once.
        settings: those to choose from, in words, in order of preference where they tie; one
            empty string where there is nothing to choose.
        random: whether the seed matters; if not, one fit tells all.
        epochs: number of epochs in a fit, for progress bars.
        device: what computes, and whose energy counts.
    """

    name: str
    fit: Fit
    settings: tuple[str, ...] = ("",)
    random: bool = False
    epochs: int = 1
    device: str = "cpu"

    def fits(self, seeds: int) -> int:
        """Number of fits that :func:`contest` makes with this many seeds."""
        return len(self.settings) + (seeds - 1 if self.random else 0)


@dataclass(frozen=True)
class Outcome:
    """A classifier of the ladder, trained.

    Attributes:
        name: what it is.
        predictions: predicted classes of the reported rows, [seeds, N] int64; one row where the
            seed does not matter.
        accuracy: share of them that are right, the mean over the seeds.
        setting: what the validation rows chose, in words; empty where nothing was chosen.
        candidates: what they chose from.
        parameters: count of learned numbers.
        seconds: duration of one fit at that setting, the mean over the seeds.
        choosing_seconds: duration of the fits at the other settings, together.
        joules: energy of one fit at that setting, the mean over the seeds; None where it was not
            measured or a fit was too short to tell.
        energy_source: how the joules were had.
    """

    name: str
    predictions: np.ndarray
    accuracy: float
    setting: str
    candidates: tuple[str, ...]
    parameters: int
    seconds: float
    choosing_seconds: float
    joules: float | None
    energy_source: str


def reported(features: FeatureSet) -> Split:
    """The rows to report on: test, or validation where there is no test."""
    return features.val if features.test is None else features.test


def contest(
    method: Method,
    features: FeatureSet,
    seeds: int = 1,
    first_seed: int = 0,
    meter: EnergyMeter | None = None,
    on_epoch: Callable[[], object] = int,
) -> Outcome:
    """Choose a method's setting with the first seed, train it with all, and predict.

    Every fit sees the training rows only. The setting is the one that is most accurate on the
    validation rows, the first of them where several are.

    Args:
        method: what to train.
        features: to learn from, to choose by and to report on.
        seeds: number of seeds, at least 1.
        first_seed: the first of them; the others follow it.
        meter: of the device that computes; opened where not given.
        on_epoch: called after every epoch of every fit.

    Returns:
        Predictions of :func:`reported` rows, and what they cost.
    """
    rows = reported(features)
    with closing(meter or EnergyMeter(method.device)) as open_meter:

        def measured(setting: str, seed: int) -> tuple[Fitted, EnergyWindow]:
            open_meter.start()
            fitted = method.fit(features, setting, seed, on_epoch)
            return fitted, open_meter.lap()

        tried = {setting: measured(setting, first_seed) for setting in method.settings}
        setting = method.settings[0]
        if len(tried) > 1:
            shares = {name: _accuracy(fitted, features.val) for name, (fitted, _) in tried.items()}
            setting = max(shares, key=shares.__getitem__)
        fits = [tried.pop(setting)]
        if method.random:
            later = range(first_seed + 1, first_seed + seeds)
            fits += [measured(setting, seed) for seed in later]
    predictions = np.stack([fitted.predict(rows) for fitted, _ in fits])
    windows = [window for _, window in fits]
    joules = [window.joules for window in windows if window.joules is not None]
    return Outcome(
        name=method.name,
        predictions=predictions,
        accuracy=float((predictions == rows.labels.cpu().numpy()).mean()),
        setting=setting,
        candidates=method.settings if len(method.settings) > 1 else (),
        parameters=fits[0][0].parameters,
        seconds=float(np.mean([window.seconds for window in windows])),
        choosing_seconds=float(sum(window.seconds for _, window in tried.values())),
        joules=float(np.mean(joules)) if len(joules) == len(windows) else None,
        energy_source=windows[0].source,
    )


def _accuracy(fitted: Fitted, split: Split) -> float:
    return float((fitted.predict(split) == split.labels.cpu().numpy()).mean())
