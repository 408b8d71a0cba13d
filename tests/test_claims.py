"""Verdicts follow from the evidence; the interval is Student's."""

import numpy as np
import pytest
from scipy import stats

from geobasin import published
from geobasin.claims import (
    Claim,
    Interval,
    card_claims,
    claims_table,
    seed_interval,
    stage_four_claims,
)
from geobasin.config import TrainConfig
from geobasin.features import synthetic
from geobasin.train import fit


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


def test_verdicts_on_the_card_follow_from_its_tables_and_from_the_runs() -> None:
    features = synthetic(classes=4, feature_dim=6, rows_per_class=12)
    config = TrainConfig(k=2, scales=(4, 5), epochs=1, batch=16, levels=1)
    runs = [fit(features, config), fit(features, TrainConfig(**config.as_dict() | {"seed": 1}))]
    verdicts = {claim.statement: claim.verdict for claim in card_claims(runs)}
    assert verdicts["alpha stays near one half"] == "not supported"
    assert verdicts["prototypes gather around one half"] == "not supported"
    assert verdicts["low scales use features, high ones crystals"] == "not supported"
    # One short epoch moves neither alpha nor the evenly started prototypes.
    assert verdicts["alpha stays near one half, tried here"] == "supported"
    for run in runs:
        for record in run.history:
            object.__setattr__(record, "alpha", 0.9)
    moved = {claim.statement: claim.verdict for claim in card_claims(runs)}
    assert moved["alpha stays near one half, tried here"] == "not supported"


def test_stage_four_waits_for_measurements() -> None:
    assert {claim.verdict for claim in stage_four_claims()} == {"not testable here"}
