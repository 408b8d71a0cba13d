"""The words of a page's tables are the numbers of what they were made from."""

import re

import numpy as np
import pytest
from ladder_outcomes import outcome
from scipy import stats

from geobasin.ladder import OURS, LadderResult
from geobasin.result_tables import heads_table, rivals_table, variants_table
from geobasin.stage4 import StageRun

LABELS = np.arange(200) % 4


def ladder(ours: int, variant: int) -> LadderResult:
    wrong = {OURS: ours, "nearest class mean": 80, f"{OURS}, k = 1": variant}
    outcomes = tuple(outcome(name, count, LABELS) for name, count in wrong.items())
    return LadderResult(outcomes, LABELS, "test", 2)


def numbers(words: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.\d+", words)]


def test_rivals_have_their_accuracy_and_what_they_are_over_ours() -> None:
    result = ladder(ours=9, variant=1)
    (row,) = rivals_table(result).itertuples(name=None)
    name, accuracy, over = row
    assert name == "nearest class mean"
    # 80 and 81 mistakes of 200, beside 9 and 10.
    assert accuracy == "59.75"
    mean, low, high = numbers(over)
    assert mean == pytest.approx(-35.5)
    assert low < mean < high < 0


def test_variants_stand_side_by_side_without_our_name() -> None:
    table = variants_table({"one": ladder(ours=9, variant=1), "other": ladder(ours=2, variant=2)})
    assert table.index.to_list() == ["k = 1"]
    assert list(table) == ["one", "other"]
    assert numbers(table.loc["k = 1", "one"])[0] == pytest.approx(4.0)
    assert table.loc["k = 1", "other"] == "+0.00 (+0.00 to +0.00)"


def test_heads_are_told_seed_by_seed_beside_the_first_row() -> None:
    shares = {
        ("basin", "basin", "RFT"): [0.31, 0.30, 0.35],
        ("linear", "cross-entropy", "RFT"): [0.33, 0.32, 0.39],
        ("linear", "cross-entropy", "BASE"): [0.30, 0.28, 0.36],
    }
    runs = [
        StageRun(
            {"config": {"head": head, "loss": loss, "mode": mode, "seed": seed}},
            [],
            {"val_acc": share, "val_loss": 2.0},
        )
        for (head, loss, mode), of_seeds in shares.items()
        for seed, share in enumerate(of_seeds)
    ]
    table = heads_table(runs)
    assert table.index.to_list() == [
        "linear, cross-entropy, Adam",
        "linear, cross-entropy, DCLR",
        "basin, basin, DCLR",
    ]
    first = np.array(shares["linear", "cross-entropy", "BASE"])
    ours = np.array(shares["basin", "basin", "RFT"])
    accuracy, over = table.loc["basin, basin, DCLR"]
    spread = stats.t.interval(0.95, 2, loc=ours.mean(), scale=stats.sem(ours))
    assert numbers(accuracy.replace(" to ", " ")) == pytest.approx(
        [100 * value for value in (ours.mean(), *spread)], abs=0.005
    )
    paired = stats.ttest_rel(ours, first).confidence_interval(0.95)
    assert numbers(over) == pytest.approx(
        [100 * value for value in ((ours - first).mean(), *paired)], abs=0.005
    )
    assert table.iloc[0, 1] == ""
