"""One contest, with methods whose predictions, durations and joules are known beforehand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from geobasin.contest import Fitted, Method, contest, reported
from geobasin.energy import EnergyMeter
from geobasin.energy_sources import Replay, Sample
from geobasin.feature_set import FeatureSet, Split
from geobasin.features import synthetic

FEATURES = synthetic(classes=3, feature_dim=6, rows_per_class=12)


def method(wrong: dict[str, int], calls: list[tuple[str, int]], random: bool) -> Method:
    """Is wrong in the first ``wrong[setting] + seed`` rows of every split."""

    def fit(
        features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
    ) -> Fitted:
        calls.append((setting, seed))
        on_epoch()

        def predict(split: Split) -> np.ndarray:
            labels = split.labels.numpy().copy()
            labels[: wrong[setting] + seed] += 1
            return labels % 3

        return Fitted(7, predict)

    return Method("by hand", fit, tuple(wrong), random)


def test_the_setting_that_validates_best_is_trained_with_all_seeds() -> None:
    calls: list[tuple[str, int]] = []
    outcome = contest(method({"a": 2, "b": 1, "c": 3}, calls, random=True), FEATURES, seeds=3)
    assert calls == [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("b", 2)]
    assert (outcome.setting, outcome.candidates) == ("b", ("a", "b", "c"))
    labels = FEATURES.test.labels.numpy()
    assert (outcome.predictions != labels).sum(1).tolist() == [1, 2, 3]
    assert outcome.accuracy == pytest.approx(1 - 2 / len(labels))
    assert outcome.parameters == 7


def test_the_first_of_equal_settings_is_taken() -> None:
    calls: list[tuple[str, int]] = []
    outcome = contest(method({"a": 2, "b": 1, "c": 1}, calls, random=False), FEATURES, seeds=5)
    assert outcome.setting == "b"
    # Where the seed does not matter, one training is enough.
    assert calls == [("a", 0), ("b", 0), ("c", 0)]
    assert outcome.predictions.shape == (1, len(FEATURES.test))


def test_settings_are_chosen_on_val_even_where_test_says_otherwise() -> None:
    def fit(
        features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
    ) -> Fitted:
        wrong = features.val if setting == "tests well" else features.test
        return Fitted(0, lambda split: split.labels.numpy() + (split is wrong))

    chosen = contest(Method("m", fit, ("tests well", "validates well")), FEATURES)
    assert chosen.setting == "validates well"


def test_without_a_test_split_val_is_reported() -> None:
    assert reported(FEATURES) is FEATURES.test
    assert reported(replace(FEATURES, test=None)) is FEATURES.val


def meter(*moments: tuple[float, float | None]) -> EnergyMeter:
    return EnergyMeter("cpu", Replay([Sample(s, j, None) for s, j in moments], 0.1))


def test_costs_are_those_of_one_training_at_the_setting_chosen() -> None:
    # Two looks a fit: a (rejected) 4 s, b 2 s and 10 J, b with the next seed 3 s and 20 J.
    looks = meter((0, 0), (4, 99), (5, 100), (7, 110), (8, 120), (11, 140))
    outcome = contest(method({"a": 2, "b": 1}, [], random=True), FEATURES, seeds=2, meter=looks)
    assert outcome.seconds == pytest.approx(2.5)
    assert outcome.choosing_seconds == pytest.approx(4)
    assert outcome.joules == pytest.approx(15)
    assert outcome.energy_source == "replay"


@pytest.mark.parametrize(
    "moments",
    [((0, 0), (2, 10), (3, None), (5, None)), ((0, 0), (2, 10), (3, 20), (3.5, 30))],
    ids=["not measured", "too short to tell"],
)
def test_joules_are_unknown_where_those_of_one_fit_are(
    moments: tuple[tuple[float, float | None], ...],
) -> None:
    only = method({"": 0}, [], random=True)
    assert contest(only, FEATURES, seeds=2, meter=meter(*moments)).joules is None
