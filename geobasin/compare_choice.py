"""What a comparison fixes before its own trials: rates, NAdamW's beta1, and the targets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
        By optimiser, the rate with the lowest validation loss at the end.

    Raises:
        GeoBasinError: an optimiser diverged at every rate.
    """
    best: dict[str, TrialResult] = {}
    for result in results:
        name = result.trial["arm"]
        if result.final < (best[name].final if name in best else math.inf):
            best[name] = result
    for result in results:
        if result.trial["arm"] not in best:
            raise GeoBasinError(
                f"{result.trial['arm']} diverged at every rate; add lower ones to --rates"
            )
    return {name: result.trial["stage"]["lr"] for name, result in best.items()}


def chosen_beta1(results: Sequence[TrialResult], default: TrialResult) -> float | None:
    """Choose NAdamW's beta1.

    Args:
        results: of :meth:`CompareConfig.beta_tuning`.
        default: NAdamW's tuning trial at the same rate with its default beta1.

    Returns:
        The beta1 with the lowest validation loss; None where that is the default.
    """
    best = min((default, *results), key=lambda result: result.final)
    return None if best is default else float(best.trial["betas"][0])


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
