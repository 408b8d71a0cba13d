"""The protocol that compares optimisers: its arithmetic, its rules, and a whole small run."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from torch import Tensor
from torch.utils.data import Dataset

from geobasin import compare_trial
from geobasin.__main__ import main
from geobasin.compare import read_comparison, write_comparison
from geobasin.compare_choice import Target, chosen_beta1, chosen_rates, fixed_target
from geobasin.compare_protocol import ABLATIONS, AGAIN, OURS, STANDARD, TUNED_BETA, CompareConfig
from geobasin.compare_record import Judged, TrialResult
from geobasin.compare_result import Comparison
from geobasin.errors import GeoBasinError
from geobasin.images import CachedImages, ImageSets
from geobasin.seal import verify
from geobasin.stage4_config import StageConfig
from geobasin.workloads import load_workload, some_of

TINY = CompareConfig(
    workloads=("fractal",),
    optimizers=(),
    steps=2,
    tune_steps=1,
    tune_seeds=1,
    batch=2,
    seeds=2,
    rates=(1e-3,),
    betas1=(0.8,),
    val_every=1,
    val_images=3,
)


def result(
    losses: list[float | None],
    arm: str = "adamw",
    lr: float = 1e-3,
    every: int = 10,
    joules: float | None = None,
    **trial: Any,
) -> TrialResult:
    judged = [
        Judged(step, loss, 0.5, 0.25 * step, None if joules is None else joules * step)
        for step, loss in zip(range(every, every * len(losses) + 1, every), losses, strict=True)
    ]
    return TrialResult({"arm": arm, "stage": {"lr": lr}, **trial}, [1.0], judged)


def comparison(dclr: list[list[float | None]], adamw: list[list[float | None]]) -> Comparison:
    arms = {"adamw": [result(x) for x in adamw], OURS: [result(x, OURS) for x in dclr]}
    return Comparison({}, {}, None, {"w": Target(1.0, "adamw", 10)}, {"w": arms})


@given(losses=st.lists(st.floats(0.01, 5), min_size=2, max_size=8), target=st.floats(0.01, 5))
def test_steps_to_target_is_where_the_curve_first_crosses(
    losses: list[float], target: float
) -> None:
    steps = np.arange(1, len(losses) + 1) * 10.0
    reached = result(list(losses)).steps_to(target)
    if min(losses) > target:
        assert math.isinf(reached)
        return
    first = next(i for i, loss in enumerate(losses) if loss <= target)
    assert (0 if first == 0 else steps[first - 1]) <= reached <= steps[first]
    if first > 0:
        assert np.interp(reached, steps, losses) == pytest.approx(target, rel=1e-6)
    else:
        assert reached == steps[0]
    assert result(list(losses)).seconds_to(target) == pytest.approx(0.25 * reached)


def test_a_validation_without_a_number_reaches_nothing() -> None:
    run = result([3.0, None, 1.0])
    assert run.steps_to(2.0) == 30
    assert run.joules_to(2.0) is None
    assert result([3.0, 1.0], joules=2.0).joules_to(2.0) == pytest.approx(30.0)
    assert math.isinf(TrialResult({}, [None], [], stopped="the loss of step 1").final)


def test_the_clock_stands_still_while_images_are_made(tmp_path: Path, monkeypatch) -> None:
    made: list[int] = []

    class Counted(Dataset[tuple[Tensor, int]]):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            made.append(index)
            return torch.full((3, 32, 32), index, dtype=torch.uint8), index % 2

    images = CachedImages(Counted(), torch.arange(12) % 2)
    sets = ImageSets(images, images, ("even", "odd"), "counted")
    monkeypatch.setattr(compare_trial, "load_workload", lambda *_: sets)
    # A clock on which nothing but making an image takes time.
    monkeypatch.setattr(compare_trial.time, "perf_counter", lambda: float(len(made)))
    stage = StageConfig("BASE", image_size=32, batch=4, steps=4, val_every=4, optimizer="adamw")
    trial = compare_trial.Trial("adamw", "counted", stage, val_images=12)
    told = compare_trial.run_trial(trial, tmp_path, torch.device("cpu"))
    assert sorted(made) == list(range(12))
    assert [judged.seconds for judged in told.judged] == [0.0]


def test_ratio_and_difference_agree_with_scipy() -> None:
    dclr = [[2.0, 0.8], [2.0, 0.7], [2.0, 0.9]]
    adamw = [[2.0, 1.5, 0.9], [2.0, 1.4, 0.8], [2.0, 1.2, 0.6]]
    table = comparison(dclr, adamw).table("w")
    ours = [run.steps_to(1.0) for run in map(result, dclr)]
    theirs = [run.steps_to(1.0) for run in map(result, adamw)]
    logs = ttest_rel(np.log(ours), np.log(theirs))
    low, high = np.exp(logs.confidence_interval())
    row = table.loc[OURS]
    assert row["steps_ratio"] == pytest.approx(np.exp(np.mean(np.log(ours) - np.log(theirs))))
    assert (row["steps_low"], row["steps_high"]) == pytest.approx((low, high))
    loss = ttest_rel([x[-1] for x in dclr], [x[-1] for x in adamw])
    assert row["loss_low"] == pytest.approx(loss.confidence_interval().low)
    assert row["steps"] == pytest.approx(np.median(ours))
    assert math.isnan(row["joules_ratio"])
    assert math.isnan(table.loc["adamw", "steps_ratio"])


def test_a_miss_counts_as_infinity() -> None:
    missed = comparison([[2.0, 0.8], [2.0, 1.5]], [[2.0, 0.5], [2.0, 0.6]])
    ratio = missed.steps_ratio("w")
    assert math.isinf(ratio.mean)
    assert math.isinf(ratio.high)
    assert missed.table("w").loc[OURS, "misses"] == 1
    assert not missed.meets_ambition()
    unbounded = comparison([[0.5], [0.5]], [[2.0], [0.5]]).steps_ratio("w")
    assert (unbounded.low, unbounded.high) == (0.0, math.inf)


def test_the_ambition_needs_the_whole_interval() -> None:
    fast = [[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]
    slow = [[1.9, 0.1], [1.8, 0.1], [1.7, 0.1]]
    assert comparison(fast, slow).meets_ambition()
    assert not comparison(slow, slow).meets_ambition()


def test_the_best_rate_and_beta_are_chosen() -> None:
    runs = [
        result([2.0], "adamw", 1e-3),
        result([1.0], "adamw", 2e-3),
        result([None], "adamw", 4e-3),
        result([0.5], "dclr", 1e-3),
        result([0.7], "dclr", 2e-3),
    ]
    assert chosen_rates(runs) == {"adamw": 2e-3, "dclr": 1e-3}
    with pytest.raises(GeoBasinError, match="sgd diverged at every rate"):
        chosen_rates([*runs, result([None], "sgd")])
    # Lucky once: the mean of the seeds decides.
    lucky = [result([0.1], "adamw", 1e-3), result([4.0], "adamw", 2e-3)]
    assert chosen_rates([*runs[:2], *lucky]) == {"adamw": 1e-3}
    default = [result([1.0], "nadamw", betas=None)]
    assert chosen_beta1([result([1.1], betas=[0.8, 0.999])], default) is None
    assert chosen_beta1([result([0.9], betas=[0.8, 0.999])], default) == 0.8


def test_the_late_loss_is_the_mean_of_the_last_quarter() -> None:
    assert result([9.0, 9, 9, 9, 9, 9, 1, 3]).late == 2.0
    assert result([9.0, 5.0]).late == 5.0
    assert math.isinf(result([9.0, 9, 9, 9, 9, 9, None, 3]).late)
    assert math.isinf(TrialResult({}, [None], [], stopped="the loss of step 1").late)


def test_the_target_is_the_best_standard_loss_at_its_step() -> None:
    config = CompareConfig(workloads=("w",), steps=40, tune_steps=10, target_at=0.75)
    runs = [result([3, 2, 1.5, 0.1], "adamw"), result([3, 2.5, 1.2, 0.9], "nadamw")]
    assert fixed_target(config, runs) == Target(1.2, "nadamw", 30)
    with pytest.raises(GeoBasinError, match="every standard optimiser diverged"):
        fixed_target(config, [result([3, 2, None, None])])


def test_every_optimiser_gets_the_same_budget_and_no_seed_is_used_twice() -> None:
    config = CompareConfig(workloads=("a", "b"), seeds=3)
    tuning = config.tuning()
    tried = {
        name: [(t.stage.lr, t.stage.seed) for t in tuning if t.arm == name]
        for name in config.contenders
    }
    assert {tuple(sorted(pairs)) for pairs in tried.values()} == {
        tuple((rate, seed) for rate in config.rates for seed in (4, 5))
    }
    rates = dict.fromkeys(config.contenders, 1e-3)
    calibration, trials = config.calibration(rates), config.trials(rates, 0.8)
    seeds = [{trial.stage.seed for trial in part} for part in (tuning, calibration, trials)]
    assert seeds[2] == {0, 1, 2}
    assert not seeds[0] & seeds[1]
    assert not (seeds[0] | seeds[1]) & seeds[2]
    assert {trial.workload for trial in tuning} == {"digits"}
    again = {trial.weights_seed for trial in trials if trial.arm == AGAIN}
    assert not again & (seeds[0] | seeds[1] | seeds[2])
    for trial in trials:
        assert trial.stage.steps == config.steps
        assert (trial.betas == (0.8, 0.999)) == (trial.arm == TUNED_BETA)
        assert bool(trial.trace) == (trial.arm in ABLATIONS)
    assert len({trial.name for trial in (*tuning, *calibration, *trials)}) == len(
        tuning + calibration + trials
    )


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ({"workloads": ()}, "needs a workload"),
        ({"workloads": ("a/x", "b/x")}, "different names"),
        ({"workloads": ("digits",)}, "tuned on must be none"),
        ({"optimizers": ("lion",)}, "no optimiser 'lion'"),
        ({"seeds": 1}, "at least 2"),
        ({"val_every": 0}, "val_every must be at least 1"),
        ({"val_every": 999}, "leaves no validation"),
        ({"target_at": 0.0}, "target_at"),
        ({"rates": (0.0,)}, "rates"),
        ({"image_size": 33}, "image_size"),
        ({"tune_steps": 0}, "steps must be at least 1"),
        ({"tune_seeds": 0}, "tune_seeds must be at least 1"),
        ({"betas1": (1.0,)}, "betas1"),
    ],
)
def test_bad_settings_are_refused(setting: dict[str, Any], word: str) -> None:
    with pytest.raises(GeoBasinError, match=word):
        CompareConfig(**{"workloads": ("fractal",), **setting})


def test_digits_are_the_ones_of_scikit_learn() -> None:
    sets = load_workload("digits", 32)
    assert (len(sets.train), len(sets.val), len(sets.class_names)) == (1437, 360, 10)
    image, label = sets.train[0]
    assert image.shape == (3, 32, 32)
    assert 0 <= label < 10
    assert int(image.max()) > 200
    few = some_of(sets.val, 7)
    assert len(few) == 7
    assert [few[i][1] for i in range(7)] == [some_of(sets.val, 7)[i][1] for i in range(7)]
    assert len(some_of(sets.val, 10_000)) == 360


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "run"
    write_comparison(TINY, out, "cpu")
    return out


def test_a_whole_comparison_is_sealed_and_read_back(folder: Path) -> None:
    assert verify(folder) == []
    read = read_comparison(folder)
    assert set(read.results["fractal"]) == {*STANDARD, OURS, TUNED_BETA, AGAIN, *ABLATIONS}
    assert all(len(results) == 2 for results in read.results["fractal"].values())
    assert list(read.table("fractal").index) == list(TINY.arms)
    assert set(read.ablation_table("fractal").index) == set(ABLATIONS)
    assert (folder / "comparison.svg").stat().st_size > 0
    arms = read.results["fractal"]
    for ours, theirs in zip(arms[OURS], arms["adamw"], strict=True):
        # Same weights, same images: the first loss is the same number.
        assert ours.losses[0] == theirs.losses[0]
    for same, other in zip(arms["adamw"], arms[AGAIN], strict=True):
        assert same.losses[0] != other.losses[0]


def test_a_broken_off_comparison_goes_on_to_the_same_numbers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_comparison(folder)
    lost = folder / "fractal" / "nadamw-lr0.001-seed1.json"
    (folder / "SHA512SUMS").unlink()
    lost.unlink()
    after = write_comparison(TINY, folder, "cpu")

    def numbers(of: Comparison) -> list[Any]:
        return [
            (arm, run.losses, [(j.step, j.loss, j.acc) for j in run.judged])
            for arm, runs in of.results["fractal"].items()
            for run in runs
        ]

    assert numbers(after) == numbers(before)
    with pytest.raises(GeoBasinError, match="other compare; name a new folder"):
        write_comparison(CompareConfig(workloads=("fractal",)), folder, "cpu")


def test_an_altered_comparison_is_not_read(folder: Path) -> None:
    path = folder / "fractal" / "dclr-lr0.001-seed0.json"
    kept = path.read_text()
    value = json.loads(kept)
    value["judged"][-1]["loss"] = 0.01
    path.write_text(json.dumps(value))
    try:
        with pytest.raises(GeoBasinError, match=r"dclr-lr0\.001-seed0\.json"):
            read_comparison(folder)
        with pytest.raises(GeoBasinError, match=r"dclr-lr0\.001-seed0\.json"):
            write_comparison(TINY, folder, "cpu")
    finally:
        path.write_text(kept)
    assert verify(folder) == []


def test_command_line_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["compare", "--on", str(tmp_path / "none"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("geobasin compare: no folder")
    assert not out.exists()
