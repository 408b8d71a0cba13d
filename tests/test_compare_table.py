"""What pages say of a comparison of optimisers, and the verdicts that follow from it."""

from typing import Any

from geobasin.compare_choice import Target
from geobasin.compare_protocol import ABLATIONS, AGAIN, OURS, CompareConfig
from geobasin.compare_record import Judged, TrialResult
from geobasin.compare_result import Comparison
from geobasin.compare_table import ablations_table, arms_table, verdict_words
from geobasin.figures.comparison import comparison_figure
from geobasin.figures.style import DARK, LIGHT
from geobasin.stage4 import StageRun
from geobasin.stage_claims import stage_four_claims
from geobasin.step_record import StepRecord

SEEDS = 3
WORKLOADS = ("photographs", "sketches")


def trial(speed: float, seed: int, joules: float | None) -> TrialResult:
    judged = [
        Judged(
            step,
            2.0 - speed * step / 20 - 0.01 * seed,
            0.3 + 0.01 * seed,
            0.1 * step / speed,
            None if joules is None else joules * step,
        )
        for step in (5, 10, 15, 20)
    ]
    return TrialResult({"stage": {"lr": 6e-4}}, [2.0], judged)


def compared(joules: float | None = None, ours: float = 1.25) -> Comparison:
    arms = CompareConfig(workloads=WORKLOADS).arms
    speeds = {arm: ours if arm == OURS or arm in ABLATIONS else 1.0 for arm in arms}
    speeds["sgd"] = 0.1
    results = {
        workload: {
            arm: [trial(speed, seed, joules) for seed in range(SEEDS)]
            for arm, speed in speeds.items()
        }
        for workload in WORKLOADS
    }
    targets = {workload: Target(1.5, "adamw", 10) for workload in WORKLOADS}
    return Comparison({}, {}, None, targets, results)


def record(step: int, **values: Any) -> StepRecord:
    known = {"drift": 1.6, "flux": 0.1, "E_ret": 1.0, "coh": 0.0, "loss": 1.0, "acc": 0.5}
    return StepRecord(mode="RFT", step=step, J_step=None, tempC=None, t=0.1, **(known | values))


def stage(coh: float, wobble: float, joules: float | None) -> StageRun:
    steps = [
        record(step, coh=coh, drift=1.6 + wobble * (-1) ** step, flux=0.1 + wobble * (step % 2))
        for step in range(1, 11)
    ]
    return StageRun({}, steps, {"J_step": joules, "training_seconds": 5.0, "steps": 10})


def paired(coh: float, tighter: bool, joules: float | None) -> dict[str, list[StageRun]]:
    wobbles = [0.1, 0.11, 0.12]
    scale = 0.5 if tighter else 1.5
    return {
        "RFT": [stage(coh, scale * w, joules) for w in wobbles],
        "BASE": [stage(0.0, w, None if joules is None else 2 * joules) for w in wobbles],
    }


def test_tables_tell_the_ratio_and_the_misses() -> None:
    table = arms_table(compared(), "sketches").data.set_index("arm")
    assert table.loc["sgd", "steps"] == f"never, {SEEDS} missed"
    assert table.loc["sgd", "steps, ratio"] == "missed"
    # The steps to the target are proportional to 1 / speed but for the seeds' own shift.
    assert table.loc[OURS, "steps, ratio"].startswith("0.80 (")
    assert "joules, ratio" not in table
    assert set(ABLATIONS).isdisjoint(table.index)
    assert table.loc["adamw", "difference"] == ""
    assert table.loc[AGAIN, "difference"] == "+0.000 (+0.000 to +0.000)"
    ablations = ablations_table(compared(), "sketches").data.set_index("arm")
    assert set(ablations.index) == set(ABLATIONS)
    assert set(ablations["steps, ratio"]) == {"1.00 (1.00 to 1.00)"}
    measured = arms_table(compared(2.0), "sketches").data.set_index("arm")
    assert measured.loc[OURS, "joules, ratio"] == "0.80"


def test_a_sentence_tells_ratios_and_misses() -> None:
    words = verdict_words(compared(), "sketches")
    assert words == (
        "-0.250 nat (-0.250 to -0.250) against adamw, and 0.80 (0.80 to 0.80) of its steps"
    )
    slow = verdict_words(compared(ours=0.2), "sketches")
    assert slow.endswith("for dclr in 3 and adamw in 0 of 3 seeds missed the target")


def test_the_figure_says_in_words_what_it_draws() -> None:
    plate = comparison_figure(compared())
    assert f"on photographs, dclr {verdict_words(compared(), 'photographs')}" in plate.alt
    for palette in (LIGHT, DARK):
        titles = [axis.get_title() for axis in plate.figure(palette).axes]
        assert titles == ["photographs; the line is the target", "", *titles[2:]]
        shown = [text.get_text() for text in plate.figure(palette).axes[1].texts]
        assert set(shown) == {*compared().results["photographs"]} - {"adamw"}
    slow = comparison_figure(compared(ours=0.2))
    assert "missed the target" in slow.alt


def verdicts(coh: float, tighter: bool, joules: float | None) -> dict[str, str]:
    runs = {"photographs": paired(coh, tighter, joules), "fractal": paired(coh, tighter, joules)}
    claims = stage_four_claims(runs, "fractal")
    return {claim.statement: claim.verdict for claim in claims}


def test_verdicts_follow_from_the_runs() -> None:
    kind = verdicts(0.99, True, 1.0)
    assert set(list(kind.values())[:5]) == {"supported"}
    unkind = verdicts(-0.05, False, 3.0)
    assert unkind["coherence near unity"] == "not supported"
    assert unkind["drift more tightly bounded than Adam's"] == "not supported"
    assert unkind["the same pattern on synthetic data"] == "not supported"
    # Half of Adam's joules: that claim stands by itself.
    assert unkind["less energy per step at equal accuracy"] == "supported"
    unknown = verdicts(0.99, True, None)
    assert unknown["less energy per step at equal accuracy"] == "not testable here"
