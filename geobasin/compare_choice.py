"""What a comparison fixes before its own trials: rates, NAdamW's beta1, and the targets."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from geobasin.compare_protocol import CompareConfig
from geobasin.compare_record import Judged, TrialResult
from geobasin.errors import GeoBasinError


@dataclass(frozen=True)
class Target:
    """What is to be reached on a workload.

    Attributes:
        loss: validation loss in nat.
        rival: the standard optimiser that reached it first on the calibration seed.
        step: at which it was read off.
    """

    loss: float
    rival: str
    step: int


def chosen_rates(results: Sequence[TrialResult]) -> dict[str, float]:
    """Choose every optimiser's learning rate.

    Args:
        results: of :meth:`CompareConfig.tuning`.

    Returns:
        By optimiser, the rate with the lowest late validation loss, the mean of the seeds.

    Raises:
        GeoBasinError: an optimiser diverged at every rate.
    """
    scores = _scores(results, lambda result: (result.trial["arm"], result.trial["stage"]["lr"]))
    chosen: dict[str, float] = {}
    for name in dict.fromkeys(name for name, _ in scores):
        rates = {rate: score for (owner, rate), score in scores.items() if owner == name}
        best = min(rates, key=rates.__getitem__)
        if math.isinf(rates[best]):
            raise GeoBasinError(f"{name} diverged at every rate; add lower ones to --rates")
        chosen[name] = best
    return chosen


def chosen_beta1(results: Sequence[TrialResult], default: Sequence[TrialResult]) -> float | None:
    """Choose NAdamW's beta1.

    Args:
        results: of :meth:`CompareConfig.beta_tuning`.
        default: NAdamW's tuning trials at the same rate with its default beta1.

    Returns:
        The beta1 with the lowest late validation loss, the mean of the seeds; None where that is
        the default.
    """
    scores = _scores((*default, *results), lambda result: (result.trial["betas"] or [None])[0])
    best: float | None = min(scores, key=scores.__getitem__)
    return best


Key = TypeVar("Key")


def _scores(results: Sequence[TrialResult], key: Callable[[TrialResult], Key]) -> dict[Key, float]:
    """Mean of the late losses of the trials that share a key."""
    groups: dict[Key, list[float]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result.late)
    return {name: statistics.fmean(losses) for name, losses in groups.items()}


def fixed_target(config: CompareConfig, results: Sequence[TrialResult]) -> Target:
    """Fix the target of one workload.

    Args:
        config: the settings.
        results: the standard optimisers' calibration trials on it.

    Returns:
        The lowest validation loss of theirs at the last validation within ``target_at`` of the
        steps, and whose it was.

    Raises:
        GeoBasinError: all of them diverged.
    """

    def read_off(result: TrialResult) -> Judged | None:
        early = [j for j in result.judged if j.step <= config.target_at * config.steps]
        return early[-1] if early and early[-1].loss is not None else None

    losses = {
        result.trial["arm"]: (judged.loss, judged.step)
        for result in results
        if (judged := read_off(result)) is not None and judged.loss is not None
    }
    if not losses:
        raise GeoBasinError("every standard optimiser diverged; tune at lower --rates")
    rival = min(losses, key=lambda name: losses[name][0])
    return Target(losses[rival][0], rival, losses[rival][1])
