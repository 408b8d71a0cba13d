"""Probe tables against SciPy and against hand-made models whose answer is known."""

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway

from geobasin import probe
from geobasin.evaluation import evaluate
from geobasin.features import Split, synthetic
from geobasin.model import GeoFractalDavid
from geobasin.train import TrainConfig, fit


def model(places: list[list[float]]) -> GeoFractalDavid:
    built = GeoFractalDavid(6, len(places[0]), k=2, scales=(4, 5)).eval()
    with torch.no_grad():
        for scale, row in zip((4, 5), places, strict=True):
            built.head(scale).cantor_prototypes.copy_(torch.tensor(row))
    return built


def test_prototype_table_equals_numpy() -> None:
    places = [[0.1, 0.9, 0.4], [0.2, -0.1, 1.2]]
    table = probe.prototype_table(model(places))
    for scale, row in zip((4, 5), places, strict=True):
        assert table.loc[scale, "mean"] == pytest.approx(np.mean(row), abs=1e-6)
        assert table.loc[scale, "std"] == pytest.approx(np.std(row, ddof=1), abs=1e-6)
        assert (table.loc[scale, "min"], table.loc[scale, "max"]) == pytest.approx(
            (min(row), max(row))
        )
    # The largest gap between the empirical steps of .1, .4, .9 and the diagonal is at .4.
    assert table.loc[4, "ks"] == pytest.approx(2 / 3 - 0.4, abs=1e-6)


def test_scales_that_agree_and_scales_that_do_not() -> None:
    table = probe.rank_agreement(model([[0.1, 0.2, 0.3], [0.9, 0.5, 0.1]]))
    np.testing.assert_allclose(table.to_numpy(), [[1, -1], [-1, 1]], atol=1e-12)


def test_cantor_order_names_classes_from_left_to_right() -> None:
    table = probe.cantor_order(model([[0.5, 0.1, 0.7]] * 2), ["ant", "bee", "cat"], 4)
    assert list(table.index) == ["bee", "ant", "cat"]
    assert table["gap"].to_list() == pytest.approx([0.1, 0.4, 0.2], abs=1e-6)


def test_variance_explained_agrees_with_the_f_test() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 25)
    values = generator.normal(size=100) + labels
    found = probe.variance_explained(torch.tensor(values), torch.tensor(labels))
    statistic = f_oneway(*(values[labels == label] for label in range(4))).statistic
    # F = (eta^2 / 3) / ((1 - eta^2) / 96) for four classes of 25.
    assert found == pytest.approx(statistic * 3 / (statistic * 3 + 96))


def test_tables_of_a_trained_run_hold_together() -> None:
    features = synthetic(classes=3, feature_dim=6, rows_per_class=12)
    training = fit(features, TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16, levels=1))
    history = probe.history_table(training.history)
    assert history.index.to_list() == [1, 2]
    accuracy = probe.accuracy_table(training.model, features)
    assert history["val"].iloc[-1] == accuracy.loc["fused", "val"]
    assert history["val_4"].iloc[-1] == accuracy.loc["4", "val"]
    weights = probe.weight_table(training.model)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    thirds = probe.interval_table(training.model, features)
    assert thirds.index.to_list() == ["train", "val", "test"]
    np.testing.assert_allclose(thirds.sum(axis=1), 1, atol=1e-6)
    explained = probe.cantor_variance_explained(training.model, features.val)
    with torch.no_grad():
        values = training.model.get_cantor_values(features.val.features)
    assert explained == probe.variance_explained(values, Split(values, features.val.labels).labels)


def test_weight_history_ends_where_the_model_is() -> None:
    features = synthetic(classes=3, feature_dim=6, rows_per_class=12)
    training = fit(features, TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16, levels=1))
    history = probe.weight_history(training.history)
    assert history.index.to_list() == [(1, 4), (1, 5), (2, 4), (2, 5)]
    last = probe.weight_table(training.model)
    np.testing.assert_array_equal(history.loc[2][last.columns], last)


def test_drift_of_a_right_triangle_by_hand() -> None:
    built = GeoFractalDavid(6, 2, k=2, scales=(4,), simplices="free")
    right = torch.tensor([[0, 0, 0, 0], [3, 0, 0, 0], [0, 4, 0, 0]])
    equal = torch.eye(4)[:3]
    with torch.no_grad():
        built.head(4).class_prototypes.copy_(torch.stack([right, equal]))
    row = probe.drift_table(built).loc[4]
    # Edges 3, 4 and 5 with the area 6, beside the equilateral triangle with edge 4.
    spread, area = np.std([3, 4, 5]) / 4, 6 / (np.sqrt(3) / 4 * 4**2)
    assert row["edge_spread_most"] == pytest.approx(spread, abs=1e-6)
    assert row["edge_spread"] == pytest.approx(spread / 2, abs=1e-6)
    assert row["volume_least"] == pytest.approx(area, abs=1e-6)
    assert row["volume"] == pytest.approx((area + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("k", [1, 12, 150])
def test_rigid_simplices_do_not_drift_in_any_dimension(k: int) -> None:
    table = probe.drift_table(GeoFractalDavid(6, 3, k=k, scales=(150, 160)))
    np.testing.assert_allclose(table[["edge_spread", "edge_spread_most"]], 0, atol=1e-5)
    np.testing.assert_allclose(table[["volume", "volume_least"]], 1, atol=1e-3)


def test_a_flat_simplex_has_no_volume() -> None:
    built = GeoFractalDavid(6, 2, k=2, scales=(4,), simplices="free")
    with torch.no_grad():
        built.head(4).class_prototypes.copy_(torch.arange(24.0).view(2, 3, 4))
    assert probe.drift_table(built).loc[4, "volume"] == pytest.approx(0, abs=1e-6)


def test_removal_of_nothing_is_the_model_and_of_one_is_its_weight_at_zero() -> None:
    features = synthetic(classes=4, feature_dim=6, rows_per_class=12)
    model = fit(features, TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16, levels=1)).model
    table = probe.removal_table(model, features.val)
    assert table["accuracy"].iloc[0] == evaluate(model, features.val).accuracy
    with torch.no_grad():
        for scale in model.scales:
            # A softmax weight far below the others is a component removed.
            model.head(scale).geo_weights.copy_(torch.tensor([0.0, -50.0, 0.0]))
    without = evaluate(model, features.val).accuracy
    equal = probe.removal_table(model, features.val)
    assert equal.loc["without cantor", "accuracy"] == pytest.approx(without)


def test_each_component_alone_can_be_predicted_by_hand() -> None:
    features = synthetic(classes=4, feature_dim=6, rows_per_class=12)
    model = fit(features, TrainConfig(k=2, scales=(4,), epochs=2, batch=16, levels=1)).model
    table = probe.removal_table(model, features.val, alone=True)
    with torch.no_grad():
        values = model.get_cantor_values(features.val.features)
    places = model.head(4).cantor_prototypes.detach()
    nearest = (values.unsqueeze(1) - places).abs().argmin(1)
    expected = (nearest == features.val.labels).float().mean().item()
    assert table.loc["only cantor", "accuracy"] == pytest.approx(expected)
