"""Confusion of Cantor neighbours: models whose every prediction is known, and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import confusion_matrix
from torch.nn import functional

from geobasin.confusion import confusion_counts, independent_errors, neighbour_confusion
from geobasin.feature_set import Split
from geobasin.model import GeoFractalDavid


def model(places: list[float]) -> GeoFractalDavid:
    """Predicts the class whose axis the feature lies on; the classes stand at the places given."""
    count = len(places)
    built = GeoFractalDavid(count, count, k=1, scales=(count,), components=("feature",))
    head = built.head(count)
    head.project = functional.normalize
    with torch.no_grad():
        head.place_centroids(torch.eye(count))
        head.cantor_prototypes.copy_(torch.tensor(places))
    return built


def answers(pairs: list[tuple[int, int]], classes: int) -> Split:
    """Rows with the labels and predictions given."""
    labels, predicted = map(list, zip(*pairs, strict=True))
    return Split(torch.eye(classes)[predicted], torch.tensor(labels))


def test_errors_between_neighbours_are_counted_along_the_line() -> None:
    # Order on the line: 2, 0, 3, 1. Neighbours: 2-0, 0-3, 3-1.
    split = answers([(0, 0), (1, 1), (2, 0), (0, 3), (1, 3), (1, 2), (0, 1)], 4)
    row = neighbour_confusion(model([0.3, 0.9, 0.1, 0.5]), split).loc[4]
    assert row["errors"] == 5
    assert row["neighbours"] == pytest.approx(3 / 5)
    assert 0 <= row["low"] <= 3 / 5 <= row["high"] <= 1
    assert row["ratio"] == pytest.approx(row["neighbours"] / row["chance"])


@pytest.mark.parametrize("classes", [3, 5, 10])
def test_errors_without_preference_go_to_neighbours_as_often_as_chance(classes: int) -> None:
    everything = [(a, b) for a in range(classes) for b in range(classes) if a != b]
    places = np.random.default_rng(0).permutation(classes) / classes
    row = neighbour_confusion(model(places.tolist()), answers(everything, classes)).loc[classes]
    # 2 (C - 1) of the C (C - 1) ordered pairs are neighbours.
    assert row["neighbours"] == pytest.approx(2 / classes)
    assert row["chance"] == pytest.approx(2 / classes)
    assert row["ratio"] == pytest.approx(1)


def test_two_classes_can_only_be_confused_with_their_neighbour() -> None:
    row = neighbour_confusion(model([0.2, 0.8]), answers([(0, 1), (1, 1), (1, 0)], 2)).loc[2]
    assert row[["neighbours", "chance", "ratio"]].tolist() == pytest.approx([1, 1, 1])


def test_without_errors_nothing_is_known() -> None:
    row = neighbour_confusion(model([0.2, 0.8, 0.5]), answers([(0, 0), (1, 1)], 3)).loc[3]
    assert row["errors"] == 0
    assert row.drop("errors").isna().all()


def test_counts_are_scikit_learns() -> None:
    labels, predictions = np.random.default_rng(1).integers(6, size=(2, 200))
    np.testing.assert_array_equal(
        confusion_counts(labels, predictions, 6),
        confusion_matrix(labels, predictions, labels=range(6)),
    )


def test_expected_errors_are_those_of_a_poisson_regression() -> None:
    errors = np.random.default_rng(2).integers(1, 30, size=(5, 5))
    np.fill_diagonal(errors, 0)
    rows, columns = np.nonzero(~np.eye(5, dtype=bool))
    effects = np.hstack([np.eye(5)[rows], np.eye(5)[columns]])
    regression = PoissonRegressor(alpha=0, tol=1e-10, max_iter=10_000)
    expected = regression.fit(effects, errors[rows, columns]).predict(effects)
    np.testing.assert_allclose(independent_errors(errors)[rows, columns], expected, rtol=1e-3)


@given(
    st.integers(2, 7).flatmap(
        lambda n: st.lists(st.integers(0, 9), min_size=n * n).map(
            lambda entries: np.array(entries[: n * n]).reshape(n, n)
        )
    )
)
def test_expected_errors_have_the_margins_of_the_errors(errors: np.ndarray) -> None:
    np.fill_diagonal(errors, 0)
    expected = independent_errors(errors)
    slack = 1e-3 * max(errors.sum(), 1)
    np.testing.assert_allclose(expected.sum(0), errors.sum(0), atol=slack)
    np.testing.assert_allclose(expected.sum(1), errors.sum(1), atol=slack)
    assert (np.diag(expected) == 0).all()
    assert (expected >= 0).all()
