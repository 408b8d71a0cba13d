"""Neural-collapse measures where the answer is known: exact simplices, NumPy, scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid
from torch import Tensor, nn
from torch.nn import functional

from geobasin import collapse
from geobasin.errors import GeoBasinError
from geobasin.feature_set import Split
from geobasin.features import synthetic
from geobasin.model import GeoFractalDavid
from geobasin.simplex import orthonormal_frame, regular_simplex
from geobasin.train import TrainConfig, fit


def frame_of(classes: int, width: int) -> Tensor:
    """A simplex equiangular tight frame, turned at random: [classes, width] float64."""
    turned = orthonormal_frame(width, classes - 1, torch.Generator().manual_seed(0)).double()
    return regular_simplex(classes - 1, torch.float64) @ turned.T


def transparent(classes: int, width: int, centroids: Tensor) -> GeoFractalDavid:
    """A model of one scale whose z is the feature itself, scored by its centroids alone."""
    model = GeoFractalDavid(width, classes, k=1, scales=(width,), components=("feature",))
    head = model.head(width)
    head.project = functional.normalize
    head.place_centroids(centroids.float())
    return model.eval()


@given(st.integers(2, 9), st.integers(0, 4))
def test_an_exact_frame_is_collapsed(classes: int, spare: int) -> None:
    means = 3 * frame_of(classes, classes - 1 + spare)
    labels = torch.arange(classes).repeat(4)
    assert collapse.equinorm(means) == pytest.approx(0, abs=1e-6)
    assert collapse.equiangularity(means) == pytest.approx(0, abs=1e-6)
    assert collapse.variability(means[labels], labels) == 0
    assert collapse.self_duality(means, 2 * means) == pytest.approx((0, 1), abs=1e-12)
    assert collapse.self_duality(means, -means) == pytest.approx((4, -1), abs=1e-12)
    assert collapse.nearest_mean_agreement(means[labels], labels, labels) == 1


def test_a_collapsed_model_has_every_measure_at_its_end() -> None:
    frame = frame_of(5, 6)
    labels = torch.arange(5).repeat(3)
    split = Split(frame[labels].float(), labels)
    row = collapse.collapse_table(transparent(5, 6, frame), split).loc[6]
    assert row[["nc1", "nc2_norms", "nc2_angles", "nc3_distance"]].tolist() == pytest.approx(
        [0, 0, 0, 0], abs=1e-5
    )
    assert row[["nc3_cosine", "nc4"]].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_a_model_with_its_centroids_exchanged_is_neither_dual_nor_nearest() -> None:
    frame = frame_of(5, 6)
    labels = torch.arange(5).repeat(3)
    split = Split(frame[labels].float(), labels)
    row = collapse.collapse_table(transparent(5, 6, frame.roll(1, 0)), split).loc[6]
    # Any two vertices of the regular simplex of five have the cosine -1/4.
    assert row["nc3_cosine"] == pytest.approx(-1 / 4, abs=1e-5)
    assert row["nc3_distance"] == pytest.approx(2 + 2 / 4, abs=1e-5)
    assert row["nc4"] == 0
    assert row["nc2_angles"] == pytest.approx(0, abs=1e-5)


def test_what_all_centroids_share_moves_no_decision_and_does_not_count() -> None:
    frame = frame_of(5, 6)
    shared = torch.ones(5, 1, dtype=torch.float64)
    labels = torch.arange(5).repeat(3)
    split = Split(torch.hstack([0 * shared, frame])[labels].float(), labels)
    model = transparent(5, 7, torch.hstack([2 * shared, frame]))
    row = collapse.collapse_table(model, split).loc[7]
    found = row[["nc3_distance", "nc3_cosine", "nc4"]].tolist()
    assert found == pytest.approx([0, 1, 1], abs=1e-5)


@pytest.mark.parametrize("spread", [0.0, 0.3, 2.0])
def test_variability_of_two_classes_on_a_line(spread: float) -> None:
    # Means -1 and 1, so S_B = 1; rows at a distance to their mean, so S_W = spread^2.
    points = torch.tensor([[-1 - spread], [-1 + spread], [1 - spread], [1 + spread]]).double()
    found = collapse.variability(points, torch.tensor([0, 0, 1, 1]))
    assert found == pytest.approx(spread**2 / 2)


@pytest.mark.parametrize("width", [3, 12])
def test_variability_is_numpys_with_classes_of_any_size(width: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 5, 6, 7], [5, 9, 12, 7, 30, 2])
    points = generator.normal(size=(len(labels), width)) + labels[:, None] * np.arange(width)
    classes = [points[labels == label] for label in np.unique(labels)]
    means = np.stack([rows.mean(0) for rows in classes])
    within = np.mean([np.cov(rows.T, bias=True) for rows in classes], axis=0)
    between = np.cov(means.T, bias=True)
    expected = np.trace(within @ np.linalg.pinv(between, rcond=1e-12)) / 6
    found = collapse.variability(torch.from_numpy(points), torch.from_numpy(labels))
    assert found == pytest.approx(expected)


def test_angles_and_lengths_are_numpys() -> None:
    centred = np.random.default_rng(1).normal(size=(4, 3))
    norms = [math.dist(row, [0, 0, 0]) for row in centred]
    cosines = [centred[i] @ centred[j] / (norms[i] * norms[j]) for i in range(4) for j in range(i)]
    points = torch.from_numpy(centred)
    assert collapse.equinorm(points) == pytest.approx(np.std(norms) / np.mean(norms))
    expected = np.mean([abs(cosine + 1 / 3) for cosine in cosines])
    assert collapse.equiangularity(points) == pytest.approx(expected)


def test_nearest_mean_is_scikit_learns() -> None:
    generator = np.random.default_rng(2)
    points, labels = generator.normal(size=(60, 4)), np.arange(60) % 5
    decisions = generator.integers(5, size=60)
    nearest = NearestCentroid().fit(points, labels).predict(points)
    found = collapse.nearest_mean_agreement(*map(torch.from_numpy, (points, labels, decisions)))
    assert found == pytest.approx((nearest == decisions).mean())


def test_rows_at_one_point_have_no_scale_to_be_measured_by() -> None:
    points = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    assert collapse.variability(points, torch.tensor([0, 0, 1, 1])) == float("inf")
    assert collapse.variability(torch.ones(4, 2), torch.tensor([0, 0, 1, 1])) == 0


def test_training_collapses_features_and_the_table_follows_the_model() -> None:
    features = synthetic(classes=4, feature_dim=16, rows_per_class=24, noise=0.5)
    config = TrainConfig(k=2, scales=(8, 12), epochs=1, batch=16, lr=3e-3)
    short = collapse.collapse_table(fit(features, config).model, features.train)
    long = TrainConfig(k=2, scales=(8, 12), epochs=15, batch=16, lr=3e-3)
    trained = fit(features, long).model
    table = collapse.collapse_table(trained, features.train)
    assert (table["nc1"] < short["nc1"]).all()
    logits = trained.get_scale_logits(features.train.features)
    for scale in trained.scales:
        with torch.no_grad():
            z = trained.head(scale).project(nn.functional.normalize(features.train.features))
        nearest = NearestCentroid().fit(z.numpy(), features.train.labels.numpy()).predict(z.numpy())
        expected = (nearest == logits[scale].argmax(1).numpy()).mean()
        assert table.loc[scale, "nc4"] == pytest.approx(expected)


def test_one_class_cannot_collapse() -> None:
    model = GeoFractalDavid(6, 3, k=2, scales=(4,))
    with pytest.raises(GeoBasinError, match="2 classes"):
        collapse.collapse_table(model, Split(torch.randn(4, 6), torch.ones(4, dtype=torch.long)))
