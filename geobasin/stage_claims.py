"""Claims of RFT Stage Four, against paired runs of the stage and a comparison of optimisers."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from geobasin.claims import Claim, Interval, seed_interval
from geobasin.stage4_folder import StageRun
from geobasin.stage_runs import BASE, RFT, Pairs

# How near to one still counts as near unity, fixed before anything was measured.
_UNITY = 0.95


def stage_four_claims(runs: Pairs, synthetic: str) -> list[Claim]:
    """Claims of RFT Stage Four, which prints settings but no figures.

    Args:
        runs: by the name of the images and by mode, of the same two or more seeds.
        synthetic: the name of those images that were made up.

    Returns:
        The claims, each with its evidence.
    """
    joules = {name: _paired(modes, _joules) for name, modes in runs.items()}
    seconds = {name: _paired(modes, _seconds) for name, modes in runs.items()}
    coherence = {
        name: seed_interval([_mean(run, "coh") for run in modes[RFT]])
        for name, modes in runs.items()
    }
    drift = {name: _paired(modes, lambda r: _spread(r, "drift")) for name, modes in runs.items()}
    flux = {name: _paired(modes, lambda r: _spread(r, "flux")) for name, modes in runs.items()}
    real = [name for name in runs if name != synthetic]
    measured = all(interval is not None for interval in joules.values())
    seeds = min(len(modes[RFT]) for modes in runs.values())
    paired = f"{seeds} paired seeds at each of {len(runs)} kinds of images"

    def tighter(of: Mapping[str, Interval | None], names: Sequence[str]) -> bool:
        return all((i := of[name]) is not None and i.high < 1 for name in names)

    def near_unity(names: Sequence[str]) -> bool:
        return all(coherence[name].within(_UNITY, 1) for name in names)

    return [
        Claim(
            "Stage Four",
            "less energy per step at equal accuracy",
            "no figure",
            f"joules a step, DCLR over Adam: {_list(joules)}"
            if measured
            else f"joules not measured here; seconds a step, DCLR over Adam: {_list(seconds)}",
            tighter(joules, list(joules)) if measured else None,
            f"{paired}, on a device whose joules can be read",
        ),
        Claim(
            "Stage Four",
            "coherence near unity",
            "no figure",
            _list(coherence),
            near_unity(real),
            paired,
        ),
        Claim(
            "Stage Four",
            "drift more tightly bounded than Adam's",
            "no figure",
            f"deviation over the steps, over Adam's: {_list(drift)}",
            tighter(drift, real),
            paired,
        ),
        Claim(
            "Stage Four",
            "flux steadier than Adam's",
            "no figure",
            f"deviation over the steps, over Adam's: {_list(flux)}",
            tighter(flux, real),
            paired,
        ),
        Claim(
            "Stage Four",
            "the same pattern on synthetic data",
            "no figure",
            f"coherence {coherence[synthetic]}; drift {_word(drift[synthetic])}, flux "
            f"{_word(flux[synthetic])} of Adam's",
            near_unity([synthetic]) and tighter(drift, [synthetic]) and tighter(flux, [synthetic]),
            paired,
        ),
        Claim(
            "Stage Four",
            "runs are sealed with SHA-512",
            "no digest",
            "the method works; there is no digest to compare with",
            None,
            "the published digests",
        ),
    ]


def _paired(
    modes: Mapping[str, Sequence[StageRun]], of: Callable[[StageRun], float | None]
) -> Interval | None:
    """RFT over BASE, seed by seed; None where a run does not know."""
    pairs = [(of(a), of(b)) for a, b in zip(modes[RFT], modes[BASE], strict=True)]
    ratios = [a / b for a, b in pairs if a is not None and b is not None and b > 0]
    return seed_interval(ratios) if len(ratios) == len(pairs) else None


def _joules(run: StageRun) -> float | None:
    joules: float | None = run.summary["J_step"]
    return joules


def _seconds(run: StageRun) -> float:
    seconds: float = run.summary["training_seconds"] / run.summary["steps"]
    return seconds


def _mean(run: StageRun, name: str) -> float:
    return statistics.fmean(_known(run, name))


def _spread(run: StageRun, name: str) -> float:
    return statistics.stdev(_known(run, name))


def _known(run: StageRun, name: str) -> list[float]:
    values = (getattr(record, name) for record in run.records)
    return [value for value in values if value is not None]


def _list(intervals: Mapping[str, Interval | None]) -> str:
    return "; ".join(f"{name} {_word(interval)}" for name, interval in intervals.items())


def _word(interval: Interval | None) -> str:
    return "not measured" if interval is None else str(interval)
