"""Training: it learns, it repeats itself, and its parts do what their formulas say."""

import math
from dataclasses import replace
from functools import partialmethod

import pytest
import torch
from scipy.stats import pearsonr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch.utils._python_dispatch import TorchDispatchMode

from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.features import Split, digits, synthetic
from geobasin.initial import first_discriminant, initialise
from geobasin.objective import Objective
from geobasin.probe import variance_explained
from geobasin.train import Training, fit, parameter_groups, rate_factor

SMALL = TrainConfig(k=3, scales=(8, 16), epochs=4, batch=32, levels=2)


@pytest.mark.parametrize("simplices", ["rigid", "free"])
@pytest.mark.parametrize("optimizer", ["adamw", "dclr"])
def test_it_learns_synthetic_classes(simplices: str, optimizer: str) -> None:
    features = synthetic(classes=5, feature_dim=12, rows_per_class=40, noise=0.5)
    config = TrainConfig(
        simplices=simplices, optimizer=optimizer, k=3, scales=(8, 16), epochs=8, batch=32
    )
    training = fit(features, config)
    assert evaluate(training.model, features.test).accuracy > 0.9
    assert training.history[-1].terms["total"] < training.history[0].terms["total"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    features = synthetic(classes=4, feature_dim=8, rows_per_class=12)
    first, second = fit(features, SMALL).model, fit(features, SMALL).model
    other = fit(features, TrainConfig(**(SMALL.as_dict() | {"seed": 1}))).model
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(first.fusion_weights, other.fusion_weights)


def test_every_row_is_seen_once_an_epoch() -> None:
    features = synthetic(classes=3, feature_dim=4, rows_per_class=11)
    training = Training.start(features, SMALL)
    seen = []
    step = training._step
    training._step = lambda rows, labels: (seen.append(rows), step(rows, labels))[1]
    training.run_epoch()
    rows = torch.cat(seen)
    assert len(rows) == len(features.train)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, features.train.features.tolist()))


def test_groups_hold_every_parameter_once_at_the_published_rates() -> None:
    model = SMALL.build_model(synthetic())
    groups = parameter_groups(model, TrainConfig(lr=0.01, weight_decay=0.1))
    held = [parameter for group in groups for parameter in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(model.parameters()))
    by_parameter = {id(p): group for group in groups for p in group["params"]}
    assert by_parameter[id(model.fusion_weights)]["lr"] == pytest.approx(0.005)
    assert by_parameter[id(model.cantor_stairs.alpha)]["lr"] == pytest.approx(0.001)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    matrices = {
        id(value)
        for name, value in model.named_parameters()
        if "projection" in name and value.ndim == 2
    }
    assert decayed == matrices


def test_rate_rises_then_falls_like_a_cosine() -> None:
    config = TrainConfig(warmup=0.1)
    factors = [rate_factor(step, 100, config) for step in range(100)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert factors[55] == pytest.approx(0.5 * (1 + math.cos(math.pi * 45 / 90)))
    constant = TrainConfig(warmup=0.0, schedule="constant")
    assert {rate_factor(step, 100, constant) for step in range(100)} == {1.0}


def test_evaluate_counts_right_answers() -> None:
    model = SMALL.build_model(synthetic()).eval()
    rows = torch.randn(50, 64)
    with torch.no_grad():
        predicted = model(rows).argmax(1)
    labels = predicted.clone()
    labels[:20] = (labels[:20] + 1) % 20
    assert evaluate(model, Split(rows, labels)).accuracy == pytest.approx(0.6)


def test_start_puts_centroids_and_prototypes_where_the_classes_are() -> None:
    features = digits()
    model = TrainConfig(scales=(16,), levels=2).build_model(features)
    labels = features.train.labels
    initialise(model, features.train.features, labels)
    with torch.no_grad():
        directions = torch.nn.functional.normalize(features.train.features, dim=-1)
        z = model.head(16).project(directions)
        values = model.get_cantor_values(features.train.features)
    for label in range(10):
        mean = z[labels == label].mean(0)
        centroid = model.head(16).vertices()[label].mean(0)
        assert torch.cosine_similarity(mean, centroid, dim=0) > 0.999
    assert variance_explained(values, labels) > 0.5
    means = torch.stack([values[labels == label].mean() for label in range(10)])
    places = model.head(16).cantor_prototypes.detach()
    assert torch.equal(places.argsort(), means.argsort())
    assert pearsonr(places.numpy(), means.numpy()).statistic > 0.9


@pytest.mark.parametrize(
    "settings",
    [
        *({"epochs": 0}, {"batch": 0}, {"lr": 0.0}, {"lr": math.inf}, {"schedule": "step"}),
        *({"batch": 2**70}, {"scales": (8, 0)}, {"scales": (2**70,)}, {"k": 0}, {"seed": -1}),
        *({"seed": 2**70}, {"tau": math.nan}, {"warmup": 1.5}, {"warmup": math.inf}),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(GeoBasinError, match=next(iter(settings))):
        TrainConfig(**settings)


def test_first_discriminant_is_scikit_learns() -> None:
    features = synthetic(classes=5, feature_dim=8, rows_per_class=60)
    reference = LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.05).fit(
        features.train.features.numpy(), features.train.labels.numpy()
    )
    found = first_discriminant(features.train.features, features.train.labels, 5)
    expected = torch.from_numpy(reference.scalings_[:, 0]).float()
    assert torch.cosine_similarity(found, expected, dim=0).abs() > 0.999


def test_first_discriminant_survives_features_without_spread() -> None:
    features = torch.zeros(20, 3)
    features[:, 0] = torch.arange(20) % 2
    found = first_discriminant(features, torch.arange(20) % 2, 2)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, 0.0]))


class Reads(TorchDispatchMode):
    """Notes operations that make a GPU's queue wait for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = str(function)
        if any(word in name for word in ("local_scalar_dense", "nonzero", "unique", "equal")):
            self.found.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_a_step_reads_nothing_back_from_the_device(simplices: str) -> None:
    features = synthetic(classes=3, feature_dim=6, rows_per_class=20)
    training = Training.start(features, replace(SMALL, simplices=simplices))
    rows, labels = features.train.features[:16], features.train.labels[:16]
    training._step(rows, labels)
    with Reads() as reads:
        training._step(rows, labels)
    assert reads.found == []
    with Reads() as reads:
        torch.ones(1).item()
    assert len(reads.found) == 1


@pytest.mark.parametrize("simplices", ["rigid", "free"])
def test_products_in_bfloat16_train_as_well(simplices: str) -> None:
    features = synthetic(classes=5, feature_dim=12, rows_per_class=40, noise=0.5)
    config = TrainConfig(simplices=simplices, k=3, scales=(8, 16), epochs=8, batch=32)
    exact = Training.start(features, config)
    narrow = Training.start(features, replace(config, precision="bfloat16"))
    first = [training.run_epoch().terms["total"] for training in (exact, narrow)]
    assert first[1] != first[0]
    assert first[1] == pytest.approx(first[0], rel=0.02)
    for _ in narrow.remaining():
        continue
    assert evaluate(narrow.model, features.test).accuracy > 0.9
    assert {value.dtype for value in narrow.model.parameters()} == {torch.float32}


def test_compiled_training_is_that_of_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    # The default back end wants a C++ compiler, which a reader's machine may lack.
    compiled = partialmethod(torch.nn.Module.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(Objective, "compile", compiled)
    features = synthetic(classes=3, feature_dim=6, rows_per_class=20)
    config = replace(SMALL, scales=(8,), epochs=1, batch=16)
    eager = Training.start(features, config).train_epoch()
    quick = Training.start(features, replace(config, compile=True)).train_epoch()
    assert quick == pytest.approx(eager, abs=1e-5)
