"""A finished comparison of optimisers: paired differences, steps to target, and their intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from geobasin.claims import Interval, seed_interval
from geobasin.compare_choice import Target
from geobasin.compare_protocol import ABLATIONS, AGAIN, OURS
from geobasin.compare_record import TrialResult

# Fewer steps by a tenth, the ambition that was fixed before anything was measured.
AMBITION = 0.9


@dataclass(frozen=True)
class Comparison:
    """All trials of a comparison.

    Attributes:
        config: the settings, as JSON.
        rates: the chosen learning rate of every optimiser.
        beta1: the one chosen for NAdamW; None where its default was the best.
        targets: by workload.
        results: by workload and arm, a result a seed.
    """

    config: dict[str, Any]
    rates: Mapping[str, float]
    beta1: float | None
    targets: Mapping[str, Target]
    results: Mapping[str, Mapping[str, Sequence[TrialResult]]]

    def table(self, workload: str) -> pd.DataFrame:
        """Compare all arms on one workload with the rival, the best standard optimiser.

        Args:
            workload: its name.

        Returns:
            A row an arm. ``lr``; ``loss`` and ``accuracy`` on the validation images after the last
            step (means); ``loss_difference`` to the rival with ``loss_low`` and ``loss_high``;
            ``steps`` to the target (median, infinite where most seeds missed it); ``misses``;
            ``steps_ratio`` to the rival with ``steps_low`` and ``steps_high``, ``seconds_ratio``
            with its ends, ``joules_ratio`` (NaN where joules were not measured). Intervals are 95 %
            of Student's t over the pairs, of ratios over their logarithms. The repeated AdamW is
            compared with AdamW.
        """
        rival = self.targets[workload].rival
        arms = self.results[workload]
        against = {arm: "adamw" if arm == AGAIN else rival for arm in arms}
        return self._compare(workload, against)

    def ablation_table(self, workload: str) -> pd.DataFrame:
        """Compare DCLR's ablations with DCLR itself on one workload.

        Args:
            workload: its name.

        Returns:
            Columns as in :meth:`table`, a row for each ablation, compared with DCLR.
        """
        return self._compare(workload, dict.fromkeys(ABLATIONS, OURS))

    def steps_ratio(self, workload: str, arm: str = OURS, against: str | None = None) -> Interval:
        """Steps to the target over the rival's, seed by seed.

        Args:
            workload: its name.
            arm: whose steps.
            against: the other arm; None takes the workload's rival.

        Returns:
            Geometric mean and 95 % interval; infinite ends where a seed missed the target.
        """
        other = against or self.targets[workload].rival
        target = self.targets[workload].loss
        return self._ratio(workload, arm, other, lambda result: result.steps_to(target))

    def meets_ambition(self) -> bool:
        """Whether DCLR needs at most nine tenths of the rival's steps, surely, on every workload.

        Returns:
            True where the upper end of :meth:`steps_ratio` is at most 0.9 on all of them.
        """
        return all(self.steps_ratio(workload).high <= AMBITION for workload in self.results)

    def loss_difference(self, workload: str, arm: str, against: str) -> Interval:
        """Validation loss after the last step less another arm's, seed by seed.

        Args:
            workload: its name.
            arm: whose loss.
            against: the other arm.

        Returns:
            Mean difference in nat and its 95 % interval; unbounded where a training broke off.
        """
        pairs = self._pairs(workload, arm, against, lambda result: result.final)
        if not all(math.isfinite(loss) for pair in pairs for loss in pair):
            return Interval(math.nan, -math.inf, math.inf)
        return seed_interval([ours - theirs for ours, theirs in pairs])

    def _compare(self, workload: str, against: Mapping[str, str]) -> pd.DataFrame:
        target = self.targets[workload].loss
        rows = {}
        for arm, other in against.items():
            results = self.results[workload][arm]
            steps = [result.steps_to(target) for result in results]
            row: dict[str, Any] = {
                "lr": results[0].trial["stage"]["lr"],
                "loss": float(np.mean([result.final for result in results])),
                "accuracy": float(np.mean([result.judged[-1].acc for result in results])),
                "steps": float(np.median(steps)),
                "misses": sum(math.isinf(value) for value in steps),
                "against": other,
            }
            if arm != other:
                loss = self.loss_difference(workload, arm, other)
                row |= _named("loss", "loss_difference", loss)
                row |= _named("steps", "steps_ratio", self.steps_ratio(workload, arm, other))
                seconds = self._ratio(workload, arm, other, lambda r: r.seconds_to(target))
                row |= _named("seconds", "seconds_ratio", seconds)
                row |= {"joules_ratio": self._joules_ratio(workload, arm, other, target)}
            rows[arm] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    def _pairs(
        self, workload: str, arm: str, against: str, of: Callable[[TrialResult], float]
    ) -> list[tuple[float, float]]:
        ours, theirs = self.results[workload][arm], self.results[workload][against]
        return [(of(one), of(other)) for one, other in zip(ours, theirs, strict=True)]

    def _ratio(
        self, workload: str, arm: str, against: str, of: Callable[[TrialResult], float]
    ) -> Interval:
        pairs = self._pairs(workload, arm, against, of)
        if any(math.isinf(theirs) for _, theirs in pairs):
            # Nothing bounds a ratio whose denominator is missing.
            return Interval(math.nan, 0.0, math.inf)
        if any(math.isinf(ours) for ours, _ in pairs):
            return Interval(math.inf, math.nan, math.inf)
        logs = seed_interval([math.log(ours / theirs) for ours, theirs in pairs])
        return Interval(math.exp(logs.mean), math.exp(logs.low), math.exp(logs.high))

    def _joules_ratio(self, workload: str, arm: str, against: str, target: float) -> float:
        both = (*self.results[workload][arm], *self.results[workload][against])
        if any(result.joules_to(target) is None for result in both):
            return math.nan
        of = TrialResult.joules_to
        return self._ratio(workload, arm, against, lambda r: of(r, target) or math.nan).mean


def _named(short: str, name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.mean, f"{short}_low": interval.low, f"{short}_high": interval.high}
