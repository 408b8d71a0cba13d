"""The simple rungs against scikit-learn called directly, intervals against the normal ones."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from geobasin.baselines import (
    LADDER,
    bootstrap_interval,
    bootstrap_intervals,
    logistic_regression,
    nearest_class_mean,
)
from geobasin.features import digits


def test_logistic_regression_takes_the_strength_that_validates_best() -> None:
    features = digits()
    rung = logistic_regression(features)
    strengths = (0.1, 1.0, 10.0, 100.0)
    fitted = [
        LogisticRegression(C=strength, max_iter=1000).fit(
            normalize(features.train.features.numpy()), features.train.labels.numpy()
        )
        for strength in strengths
    ]
    val = normalize(features.val.features.numpy())
    scores = [model.score(val, features.val.labels.numpy()) for model in fitted]
    best = int(np.argmax(scores))
    assert rung.setting == f"C = {strengths[best]:g}"
    assert rung.candidates == tuple(f"C = {strength:g}" for strength in strengths)
    test = normalize(features.test.features.numpy())
    assert rung.accuracy == fitted[best].score(test, features.test.labels.numpy())


def test_nearest_class_mean_by_hand() -> None:
    features = digits()
    train, labels = normalize(features.train.features.numpy()), features.train.labels.numpy()
    means = np.stack([train[labels == label].mean(0) for label in range(10)])
    test = normalize(features.test.features.numpy())
    distances = ((test[:, None] - means) ** 2).sum(-1)
    np.testing.assert_array_equal(nearest_class_mean(features).predictions, [distances.argmin(1)])


def test_every_rung_beats_chance_on_digits_and_counts_its_numbers() -> None:
    features = digits()
    rungs = [rung(features) for rung in LADDER]
    assert min(rung.accuracy for rung in rungs) > 0.8
    assert [rung.parameters for rung in rungs] == [64 * 10, 65 * 10, 65 * 10]


def test_interval_agrees_with_the_normal_one() -> None:
    correct = np.random.default_rng(1).random(4000) < 0.8
    low, high = bootstrap_interval(correct)
    share = correct.mean()
    half = 1.96 * np.sqrt(share * (1 - share) / 4000)
    assert (low, high) == pytest.approx((share - half, share + half), abs=0.002)


def test_interval_of_seeds_resamples_rows_together() -> None:
    correct = np.random.default_rng(1).random(500) < 0.8
    assert bootstrap_interval(np.stack([correct] * 5)) == bootstrap_interval(correct)


def test_paired_interval_is_as_narrow_as_the_rows_that_differ() -> None:
    generator = np.random.default_rng(2)
    one = generator.random(3000) < 0.8
    other = np.where(generator.random(3000) < 0.05, ~one, one)
    difference = other.astype(float) - one
    (low, high), (single_low, single_high) = bootstrap_intervals([difference, one])
    half = 1.96 * difference.std() / np.sqrt(3000)
    mean = difference.mean()
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.001)
    assert high - low < single_high - single_low


def test_intervals_of_several_means_are_those_of_each_alone() -> None:
    correct = np.random.default_rng(3).random((2, 400)) < 0.7
    together = bootstrap_intervals(correct, seed=4, draws=300)
    for row, ends in zip(correct, together, strict=True):
        assert tuple(ends) == pytest.approx(bootstrap_interval(row, seed=4, draws=300))
