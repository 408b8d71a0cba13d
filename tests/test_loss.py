"""BasinLoss against each term computed by hand, in NumPy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import entr, log_softmax

from geobasin.errors import GeoBasinError
from geobasin.loss import BasinLoss, separation_shortfall
from geobasin.model import BasinScores


def scores(rows: int = 5, classes: int = 4, scales: int = 3) -> tuple[BasinScores, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    digits = torch.softmax(draw(rows, 3), -1)
    drawn = BasinScores(
        draw(rows, classes), draw(scales, rows, classes), draw(rows), digits, draw(scales, classes)
    )
    return drawn, torch.randint(classes, (rows,), generator=generator)


def cross_entropy(
    logits: np.ndarray, labels: np.ndarray, temperature: float, smoothing: float
) -> float:
    rows, classes = logits.shape
    target = np.full((rows, classes), smoothing / classes)
    target[np.arange(rows), labels] += 1 - smoothing
    return float(-(target * log_softmax(logits / temperature, axis=1)).sum(1).mean())


def test_every_term_equals_its_definition() -> None:
    drawn, labels = scores()
    loss = BasinLoss(0.2, 0.15, 0.7, 1.3, 0.4, 0.2)
    terms = loss(drawn, labels)
    y = labels.numpy()
    contrastive = cross_entropy(drawn.logits.numpy(), y, 0.2, 0.15)
    by_scale = np.mean([cross_entropy(one.numpy(), y, 0.2, 0.15) for one in drawn.scale_logits])
    kappa, places = drawn.cantor_values.numpy(), drawn.cantor_prototypes.numpy()
    coherence = np.mean([(kappa[row] - place[y[row]]) ** 2 for place in places for row in range(5)])
    discretisation = entr(drawn.digits.numpy()).sum(1).mean()
    assert terms.contrastive.item() == pytest.approx(contrastive, rel=1e-5)
    assert terms.scale_contrastive.item() == pytest.approx(by_scale, rel=1e-5)
    assert terms.coherence.item() == pytest.approx(coherence, rel=1e-5)
    assert terms.discretisation.item() == pytest.approx(discretisation, rel=1e-5)
    separation = terms.separation.item()
    total = contrastive + 0.7 * by_scale + 1.3 * coherence + 0.4 * separation + 0.2 * discretisation
    assert terms.total.item() == pytest.approx(total, rel=1e-5)


@given(st.integers(2, 50), st.randoms(use_true_random=False))
def test_even_prototypes_fall_short_by_nothing(count: int, random) -> None:
    even = [(index + 0.5) / count for index in range(count)]
    random.shuffle(even)
    assert separation_shortfall(torch.tensor(even)).item() == pytest.approx(0, abs=1e-5)


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=20))
def test_separation_equals_its_hinges(places: list[float]) -> None:
    count, ordered = len(places), sorted(float(torch.tensor(place)) for place in places)
    inner = [max(0, 1 - count * (b - a)) for a, b in pairwise(ordered)]
    walls = [max(0, 1 - 2 * count * ordered[0]), max(0, 1 - 2 * count * (1 - ordered[-1]))]
    expected = sum(inner + walls) / (count + 1)
    found = separation_shortfall(torch.tensor(places)).item()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"label_smoothing": 1.0}])
def test_settings_outside_their_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(GeoBasinError, match=next(iter(settings))):
        BasinLoss(**settings)
