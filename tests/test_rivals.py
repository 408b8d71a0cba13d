"""Rival heads against their formulas written out, and their training against GeoFractalDavid's."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn
from torch.nn import functional as F

from geobasin.baselines import linear_discriminant, nearest_class_mean
from geobasin.config import TrainConfig
from geobasin.contest import Outcome, contest
from geobasin.feature_set import FeatureSet
from geobasin.features import digits, synthetic
from geobasin.rival_heads import CosineHead, PerceptronHead, SoftTripleHead
from geobasin.rivals import (
    RIVALS,
    cosine_head,
    fitted,
    perceptron_head,
    predictions,
    rival_methods,
    soft_triple_head,
    started_projection,
    train_head,
)
from geobasin.train import Training

FEATURES = synthetic(classes=4, feature_dim=6, rows_per_class=16)
SMALL = TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16)


def test_cosine_head_is_scikit_learns_cosine_over_the_temperature() -> None:
    head = CosineHead(6, 4, temperature=0.2)
    rows = 3 * torch.randn(5, 6)
    expected = cosine_similarity(rows.numpy(), head.weight.detach().numpy()) / 0.2
    np.testing.assert_allclose(head(rows).detach(), expected, atol=1e-5)


def test_soft_triple_is_its_formula_written_out() -> None:
    torch.manual_seed(1)
    head = SoftTripleHead(nn.Linear(6, 5), 5, num_classes=3, centres=4).double()
    rows, labels = torch.randn(7, 6, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2, 2])
    with torch.no_grad():
        x = head.projection(rows / rows.norm(dim=1, keepdim=True)).numpy()
        found = head.loss(rows, labels, label_smoothing=0.0).item()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    w = head.centres.detach().numpy()
    w = w / np.linalg.norm(w, axis=2, keepdims=True)
    losses = []
    for point, label in zip(x, labels.tolist(), strict=True):
        similarity = []
        for centres in w:
            products = np.array([point @ centre for centre in centres])
            shares = np.exp(products / 0.1)
            similarity.append((shares / shares.sum() * products).sum())
        right = math.exp(20 * (similarity[label] - 0.01))
        others = sum(math.exp(20 * s) for c, s in enumerate(similarity) if c != label)
        losses.append(-math.log(right / (right + others)))
    merging = sum(
        math.sqrt(2 - 2 * centres[s] @ centres[t])
        for centres in w
        for t in range(4)
        for s in range(t + 1, 4)
    ) / (3 * 4 * 3)
    assert found == pytest.approx(np.mean(losses) + 0.2 * merging, abs=1e-6)


def test_soft_triple_with_one_centre_and_no_margin_is_a_cosine_head() -> None:
    torch.manual_seed(2)
    head = SoftTripleHead(nn.Identity(), 6, num_classes=4, centres=1, margin=0.0)
    cosine = CosineHead(6, 4, temperature=1 / 20)
    with torch.no_grad():
        cosine.weight.copy_(head.centres.squeeze(1))
    rows, labels = torch.randn(8, 6), torch.arange(8) % 4
    torch.testing.assert_close(head(rows), cosine(rows))
    torch.testing.assert_close(head.loss(rows, labels, 0.1), cosine.loss(rows, labels, 0.1))


def test_centres_that_have_met_have_finite_gradients() -> None:
    head = SoftTripleHead(nn.Identity(), 6, num_classes=2, centres=3)
    with torch.no_grad():
        head.centres.copy_(torch.ones_like(head.centres))
    head.loss(torch.randn(4, 6), torch.tensor([0, 1, 0, 1]), 0.1).backward()
    assert head.centres.grad is not None
    assert head.centres.grad.isfinite().all()


@pytest.mark.parametrize("name", RIVALS)
def test_only_the_direction_of_a_feature_matters(name: str) -> None:
    head = RIVALS[name].build(FEATURES, SMALL)
    rows = FEATURES.val.features
    torch.testing.assert_close(head(rows), head(7 * rows), atol=1e-4, rtol=1e-4)


def test_the_projection_starts_where_geofractaldavids_does() -> None:
    config = replace(SMALL, scales=(5,), seed=3)
    ours = Training.start(FEATURES, config).model.head(5).projection.state_dict()
    rival = started_projection(FEATURES, replace(config, scales=(4, 5))).state_dict()
    assert ours.keys() == rival.keys()
    for name, values in ours.items():
        torch.testing.assert_close(rival[name], values)


def test_a_step_is_adamw_with_clipping_and_decay_written_out() -> None:
    config = TrainConfig(epochs=1, batch=len(FEATURES.train), lr=0.01, warmup=0.0, seed=5)
    config = replace(config, scales=(5,), k=2, gradient_clip=1e-3)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = perceptron_head(FEATURES, config)
    rows, labels = FEATURES.train.features, FEATURES.train.labels
    loss = F.cross_entropy(head(rows), labels, label_smoothing=0.1)
    gradients = torch.autograd.grad(loss, list(head.parameters()))
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    after = dict(train_head(perceptron_head, FEATURES, config).named_parameters())
    for (name, before), gradient in zip(head.named_parameters(), gradients, strict=True):
        clipped = gradient * min(1.0, 1e-3 / float(norm))
        matrix = name.endswith("weight") and before.ndim == 2
        decayed = before * (1 - 0.01 * 0.05) if matrix else before
        # The first step of Adam: both corrected moments are the gradient's own.
        expected = decayed - 0.01 * clipped / (clipped.abs() + 1e-8)
        torch.testing.assert_close(after[name], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", RIVALS)
def test_the_same_seed_gives_the_same_head_and_another_does_not(name: str) -> None:
    build = RIVALS[name].build
    one, again, other = (
        train_head(build, FEATURES, replace(SMALL, seed=seed))(FEATURES.val.features)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_training_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    train_head(soft_triple_head, FEATURES, SMALL)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "rate", "simple"),
    [
        ("cosine classifier", 0.03, nearest_class_mean),
        ("MLP head", 0.01, linear_discriminant),
        ("SoftTriple", 0.01, linear_discriminant),
    ],
)
def test_rivals_beat_a_simpler_classifier_on_digits(
    name: str, rate: float, simple: Callable[[FeatureSet], Outcome]
) -> None:
    features = digits()
    config = TrainConfig(lr=rate, epochs=12, scales=(64,), k=4)
    head = train_head(RIVALS[name].build, features, config)
    found = predictions(head, features.test)
    assert (found == features.test.labels.numpy()).mean() > simple(features).accuracy
    np.testing.assert_array_equal(fitted(head).predict(features.test), found)


def test_a_rival_that_is_dclr_trained_moves_otherwise_than_with_adamw() -> None:
    adamw, dclr = (
        train_head(cosine_head, FEATURES, replace(SMALL, optimizer=name)).weight
        for name in ("adamw", "dclr")
    )
    assert not torch.equal(adamw, dclr)


def test_methods_offer_their_rates_and_count_what_they_learn() -> None:
    methods = {method.name: method for method in rival_methods(SMALL)}
    assert list(methods) == ["cosine classifier", "MLP head", "SoftTriple"]
    assert {len(method.settings) for method in methods.values()} == {4}
    epochs: list[int] = []
    made = methods["MLP head"].fit(FEATURES, "learning rate 0.001", 0, lambda: epochs.append(1))
    assert len(epochs) == SMALL.epochs
    # Two linear layers and a norm of width 2 s = 10 over D = 6, then s = 5 to C = 4.
    assert made.parameters == (6 * 10 + 10) + 2 * 10 + (10 * 5 + 5) + (5 * 4 + 4)


def test_a_rival_of_the_ladder_is_trained_with_the_rate_chosen_and_each_seed() -> None:
    noisy = synthetic(classes=4, feature_dim=6, rows_per_class=40, noise=3.0)
    method = {method.name: method for method in rival_methods(SMALL)}["MLP head"]
    outcome = contest(method, noisy, seeds=2)
    rate = float(outcome.setting.removeprefix("learning rate "))
    for seed, found in enumerate(outcome.predictions):
        head = train_head(perceptron_head, noisy, replace(SMALL, lr=rate, seed=seed))
        np.testing.assert_array_equal(found, predictions(head, noisy.test))
    assert (outcome.predictions[0] != outcome.predictions[1]).any()


def test_a_perceptron_is_its_layers_one_after_another() -> None:
    head = PerceptronHead(nn.Linear(6, 5), 5, 4)
    rows = F.normalize(torch.randn(3, 6), dim=-1)
    projected = rows @ head.projection.weight.T + head.projection.bias
    expected = projected @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(rows), expected)
