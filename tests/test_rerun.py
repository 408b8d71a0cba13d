"""The tolerance is a prediction interval that holds as often as it says; broken seals are told."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from geobasin.errors import GeoBasinError
from geobasin.ladder_folder import read_ladder
from geobasin.rerun import Rerun, accuracy_rerun, prediction_interval, rerun_table

LADDER = Path(__file__).parents[1] / "book" / "runs" / "digits-ladder"
VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


def test_one_new_run_is_judged_by_the_textbook_interval() -> None:
    values = [0.2, 0.5, 0.3, 0.9]
    half = stats.t.ppf(0.975, 3) * stats.sem(values) * np.sqrt(len(values) + 1)
    found = prediction_interval(values)
    assert (found.low, found.high) == pytest.approx(
        (np.mean(values) - half, np.mean(values) + half)
    )


@pytest.mark.parametrize(("seeds", "new"), [(3, 1), (5, 1), (5, 3), (2, 2)])
def test_honest_reruns_fall_within_as_often_as_the_level_says(seeds: int, new: int) -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.02, size=(4000, seeds + new))
    held = [
        Rerun("accuracy", tuple(row[seeds:]), tuple(row[:seeds])).holds for row in draws.tolist()
    ]
    # Four standard errors of a share of 0.95 among 4000.
    assert np.mean(held) == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 4000) ** 0.5)


@given(VALUES, st.floats(0, 10))
def test_the_tolerance_is_never_below_the_step(values: list[float], step: float) -> None:
    found = prediction_interval(values, step=step)
    assert found.high - found.low >= 2 * step * (1 - 1e-9) - 1e-9
    plain = prediction_interval(values)
    assert found.high >= plain.high


@given(VALUES, st.integers(1, 20))
def test_more_new_runs_are_judged_more_strictly(values: list[float], new: int) -> None:
    one, more = prediction_interval(values, 1), prediction_interval(values, new)
    assert more.high <= one.high
    assert more.low >= one.low


@pytest.mark.parametrize(("values", "new"), [([], 1), ([0.5], 1), ([0.5, 0.6], 0)])
def test_too_few_values_are_refused(values: list[float], new: int) -> None:
    with pytest.raises(GeoBasinError, match="no tolerance"):
        prediction_interval(values, new)


def test_a_sealed_ladder_gives_its_own_accuracies_and_its_row_as_step() -> None:
    sealed = read_ladder(LADDER).as_dict()
    for record in sealed["methods"]:
        again = accuracy_rerun(LADDER, record["name"], record["seed_accuracies"])
        assert again.published == pytest.approx(record["seed_accuracies"])
        assert again.step == 1 / sealed["rows"]
        assert again.holds


def test_table_says_yes_within_one_row_and_no_beyond() -> None:
    # A linear discriminant has no chance in it: one row is all it may differ by.
    (accuracy,) = accuracy_rerun(LADDER, "linear discriminant", 0.5).published
    rows = len(read_ladder(LADDER).labels)
    near = accuracy_rerun(LADDER, "linear discriminant", accuracy + 1 / rows)
    far = accuracy_rerun(LADDER, "linear discriminant", accuracy + 2 / rows)
    assert rerun_table([near])["within"].to_list() == ["yes"]
    table = rerun_table([far])
    assert table["within"].to_list() == ["no"]
    assert table["seeds"].to_list() == [1]
    assert table["published"].to_list() == pytest.approx([accuracy])


def test_unknown_method_and_broken_seal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="no method 'oracle'"):
        accuracy_rerun(LADDER, "oracle", 1.0)
    copy = shutil.copytree(LADDER, tmp_path / "copy")
    predictions = next((copy / "methods").glob("*.safetensors"))
    content = bytearray(predictions.read_bytes())
    content[-1] ^= 1
    predictions.write_bytes(content)
    with pytest.raises(GeoBasinError):
        accuracy_rerun(copy, "linear discriminant", 0.5)
