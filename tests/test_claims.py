"""Verdicts follow from the evidence; the interval is Student's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from geobasin import published
from geobasin.card_claims import card_claims
from geobasin.claims import Claim, Interval, claims_table, seed_interval
from geobasin.contest import Outcome
from geobasin.epoch_record import EpochRecord
from geobasin.evaluation import Evaluation
from geobasin.ladder import OURS, LadderResult
from geobasin.learned import Learned


def test_interval_is_that_of_scipy() -> None:
    values = [0.2, 0.5, 0.3, 0.9]
    expected = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = seed_interval(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(values))


def test_within_wants_the_whole_interval() -> None:
    interval = Interval(0.5, 0.4, 0.6)
    assert interval.within(0.4, 0.7)
    assert not interval.within(0.45, 0.7)


def test_points_have_a_sign_and_zero_has_none_below() -> None:
    assert Interval(-0.0000001, -0.0123, 0.5).points() == "+0.00 (-1.23 to +50.00)"


@pytest.mark.parametrize(
    ("holds", "verdict"),
    [(True, "supported"), (False, "not supported"), (None, "not testable here")],
)
def test_verdict_follows_from_the_evidence(holds: bool | None, verdict: str) -> None:
    claim = Claim("000", "a", "b", "c", holds, "d")
    assert claims_table([claim]).data["verdict"].to_list() == [verdict]


def test_published_weights_are_weights_and_ranges_hold_their_means() -> None:
    for row in published.SCALES.values():
        assert sum(row.weights) == pytest.approx(1, abs=0.0015)
        low, high = row.prototype_range
        assert low < row.prototype_mean < high
        assert row.accuracy < published.ACCURACY


def learned(
    alpha: float = 0.5,
    places: Sequence[float] = (0.02, 0.3, 0.7, 0.98),
    accuracies: tuple[float, float] = (0.99, 1.0),
    weights: tuple[tuple[float, float], tuple[float, float]] = ((0.9, 0.1), (0.3, 0.7)),
    explained: float = 0.9,
    alone: float = 0.8,
) -> list[Learned]:
    """Two runs that differ by a hair, so that the intervals have a width."""

    def record(epoch: int, accuracy: float, shift: float) -> EpochRecord:
        shares = {
            scale: {"feature": feature, "cantor": 0.0, "crystal": crystal}
            for scale, (feature, crystal) in zip((4, 8), weights, strict=True)
        }
        val = Evaluation(accuracy + shift, {4: alone, 8: alone - 0.1})
        return EpochRecord(epoch, {}, val, alpha + shift, shares, 0.1, 1.0)

    return [
        Learned(
            seed,
            tuple(record(epoch, share, 1e-4 * seed) for epoch, share in enumerate(accuracies, 1)),
            {scale: np.array(places) + 1e-4 * seed for scale in (4, 8)},
            explained + 1e-4 * seed,
        )
        for seed in (0, 1)
    ]


def small_ladder(right_without: float) -> LadderResult:
    """Twenty rows of which the whole model has nine in ten right."""
    labels = np.tile([0, 1], 500)

    def outcome(name: str, share: float) -> Outcome:
        right = np.arange(1000) < 1000 * share
        predictions = np.where(right, labels, 1 - labels)[None]
        return Outcome(name, predictions, share, "", (), 1, 1.0, 0.0, None, "unavailable")

    outcomes = (outcome(OURS, 0.9), outcome(f"{OURS}, no Cantor", right_without))
    return LadderResult(outcomes, labels, "test", 1)


def verdicts(ladder: float = 0.8, **changes: Any) -> dict[str, str]:
    claims = card_claims(learned(**changes), small_ladder(ladder), "made up")
    return {claim.statement: claim.verdict for claim in claims}


def test_the_card_is_held_against_its_own_tables() -> None:
    found = verdicts()
    assert found["alpha stays near one half"] == "not supported"
    assert found["most prototypes gather around one half"] == "not supported"
    assert found["prototypes spread over [0, 1]"] == "not supported"
    assert found["low scales use features, high ones crystals"] == "not supported"
    assert found["the scales together beat the best of them"] == "supported"
    assert found["each scale learns a weighting of its own"] == "supported"


@pytest.mark.parametrize(
    ("statement", "holding", "failing"),
    [
        ("alpha stays near one half, tried here", {}, {"alpha": 0.9}),
        (
            "most prototypes gather around one half, tried here",
            {"places": (0.4, 0.5, 0.6, 0.9)},
            {},
        ),
        ("prototypes spread over [0, 1], tried here", {}, {"places": (0.2, 0.3, 0.7, 0.98)}),
        ("prototypes spread over [0, 1], tried here", {}, {"places": (-0.2, 0.3, 0.7, 0.98)}),
        (
            "features are drawn to their class's place on the Cantor line",
            {},
            {"explained": 0.6},
        ),
        (
            "low scales use features, high ones crystals, tried here",
            {},
            {"weights": ((0.9, 0.1), (0.6, 0.4))},
        ),
        (
            "each scale learns a weighting of its own, tried here",
            {},
            {"weights": ((0.9, 0.1), (0.88, 0.12))},
        ),
        ("the scales together beat the best of them, tried here", {}, {"alone": 1.0005}),
        ("after one epoch most is learned", {}, {"accuracies": (0.9, 1.0)}),
        ("the Cantor part helps to tell classes apart", {}, {"ladder": 0.9}),
        ("the Cantor part helps to tell classes apart", {}, {"ladder": 0.95}),
    ],
)
def test_verdicts_follow_from_the_runs(
    statement: str, holding: dict[str, Any], failing: dict[str, Any]
) -> None:
    assert verdicts(**holding)[statement] == "supported"
    assert verdicts(**failing)[statement] == "not supported"
