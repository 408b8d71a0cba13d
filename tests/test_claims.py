"""Verdicts follow from the evidence; the interval is Student's."""

import numpy as np
import pytest
from scipy import stats

from geobasin import published
from geobasin.claims import Claim, Interval, claims_table, seed_interval


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
