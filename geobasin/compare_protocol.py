"""The protocol of a comparison: tune on one workload, fix a target, then train untouched ones.

1. Every optimiser is tried at the same learning rates on the tuning workload, from the same seeds,
   and keeps the one with the lowest validation loss (:attr:`TrialResult.late`, the mean of the
   seeds). NAdamW's beta1 is then tried as well, at its own rate.
2. On every other workload a calibration seed, which is used for nothing else, trains the standard
   optimisers. The best of their validation losses at ``target_at`` of the steps is the target, and
   its owner is the rival.
3. All arms train on the same seeds, with the same weights and the same images in the same order.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geobasin.compare_trial import Trial
from geobasin.errors import GeoBasinError
from geobasin.optimizers import NAMES
from geobasin.stage4_config import StageConfig

STANDARD = ("adamw", "nadamw", "cadamw")
OURS = "dclr"
AGAIN = "adamw, other weights"
TUNED_BETA = "nadamw, beta1 tuned"
# What each of them keeps of DCLR, and whether Nesterov's lead is part of it.
ABLATIONS = {
    "adamw at the mean rate": ("mean", 0.0),
    "mean rate": ("mean", 1.0),
    "static gains": ("static", 1.0),
    "replayed gains": ("replay", 1.0),
    "coherence shuffled in time": ("shuffled coherence", 1.0),
    "gains permuted between tensors": ("permuted", 1.0),
}
_BETA2 = 0.999


@dataclass(frozen=True)
class CompareConfig:
    """The settings of a comparison.

    Attributes:
        workloads: never tuned on; names or folders as for
            :func:`geobasin.workloads.load_workload`, of different names, one or more.
        tune_on: the workload of the tuning, none of the others.
        optimizers: besides the standard ones and DCLR, which always take part.
        steps: of every training, >= 1.
        tune_steps: of a training while tuning, >= 1.
        tune_seeds: of every rate while tuning, >= 1; none of them is used again.
        batch: images in a step, >= 1.
        image_size: side in pixels, a multiple of 16 from 32 on.
        seeds: of every arm, >= 2; they are 0, 1, ...
        rates: learning rates to choose from, the same for every optimiser.
        betas1: for NAdamW to choose from, besides 0.9, its default.
        weight_decay: decoupled; ``adam`` has none.
        schedule: as for the stage; the rate first rises over a tenth of the steps.
        val_every: steps between two validations, >= 1.
        val_images: validation images looked at, >= 1.
        target_at: share of the steps at which the target is read off, in (0, 1].

    Raises:
        GeoBasinError: a setting outside its range.
    """

    workloads: tuple[str, ...]
    tune_on: str = "digits"
    optimizers: tuple[str, ...] = ("adam", "hgm", "adatam")
    steps: int = 240
    tune_steps: int = 120
    tune_seeds: int = 2
    batch: int = 32
    image_size: int = 32
    seeds: int = 5
    rates: tuple[float, ...] = (3.75e-5, 7.5e-5, 1.5e-4, 3e-4, 6e-4, 1.2e-3, 2.4e-3, 4.8e-3)
    betas1: tuple[float, ...] = (0.6, 0.8, 0.95)
    weight_decay: float = 0.05
    schedule: str = "constant"
    val_every: int = 10
    val_images: int = 500
    target_at: float = 0.75

    def __post_init__(self) -> None:
        names = [Path(name).name for name in (self.tune_on, *self.workloads)]
        if not self.workloads:
            raise GeoBasinError("a comparison needs a workload; give --on FOLDER")
        if len(set(names)) < len(names):
            raise GeoBasinError(
                f"workloads {', '.join(names)} must have different names; the one that the "
                "optimisers are tuned on must be none of the others"
            )
        for name in self.optimizers:
            if name not in NAMES:
                raise GeoBasinError(
                    f"no optimiser {name!r} here; choose from {', '.join(sorted(NAMES))}"
                )
        if self.seeds < 2:
            raise GeoBasinError(f"seeds must be at least 2 for an interval, not {self.seeds}")
        for name in ("tune_seeds", "val_every", "val_images"):
            if getattr(self, name) < 1:
                raise GeoBasinError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.target_at <= 1:
            raise GeoBasinError(f"target_at must lie in (0, 1], not {self.target_at}")
        if self.val_every > self.target_at * self.steps:
            raise GeoBasinError(
                f"val_every {self.val_every} leaves no validation before the target is read off "
                f"at step {self.target_at * self.steps:g}; validate more often"
            )
        if not self.rates or not all(0 < rate < math.inf for rate in self.rates):
            raise GeoBasinError("rates must be one or more numbers above 0")
        # The stage's own rules hold for the rest.
        self._trial("adamw", self.tune_on, self.rates[0], 0, self.steps)
        self._trial("adamw", self.tune_on, self.rates[0], 0, self.tune_steps)
        if not all(0 <= beta1 < 1 for beta1 in self.betas1):
            raise GeoBasinError(f"betas1 must lie in [0, 1), not {self.betas1}")

    @property
    def contenders(self) -> tuple[str, ...]:
        """All optimisers that are tuned, each once."""
        return tuple(dict.fromkeys((*STANDARD, *self.optimizers, OURS)))

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm of the comparison, in the order of its tables."""
        return (*self.contenders, TUNED_BETA, AGAIN, *ABLATIONS)

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as JSON holds them; of a folder of images its name alone."""
        named = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        return {
            **named,
            "workloads": [Path(name).name for name in self.workloads],
            "tune_on": Path(self.tune_on).name,
        }

    def tuning(self) -> list[Trial]:
        """The trials of the first search: every optimiser at every rate, from every seed."""
        return [
            self._trial(name, self.tune_on, rate, seed, self.tune_steps)
            for name in self.contenders
            for rate in self.rates
            for seed in self._tuning_seeds
        ]

    def beta_tuning(self, rates: Mapping[str, float]) -> list[Trial]:
        """The trials of NAdamW's beta1, at the rate that was chosen for it.

        Args:
            rates: the chosen rate of every optimiser.

        Returns:
            One trial for each beta1 and seed; 0.9 was tried before.
        """
        base = [
            self._trial("nadamw", self.tune_on, rates["nadamw"], seed, self.tune_steps)
            for seed in self._tuning_seeds
        ]
        return [replace(t, betas=(beta1, _BETA2)) for beta1 in self.betas1 for t in base]

    def calibration(self, rates: Mapping[str, float]) -> list[Trial]:
        """The trials that fix the targets and record DCLR's gains.

        Args:
            rates: the chosen rate of every optimiser.

        Returns:
            For every workload: the standard optimisers, and DCLR.
        """
        return [
            replace(
                self._trial(name, workload, rates[name], self._calibration_seed, self.steps),
                record=name == OURS,
            )
            for workload in self.workloads
            for name in (*STANDARD, OURS)
        ]

    def trials(self, rates: Mapping[str, float], beta1: float | None) -> list[Trial]:
        """The trials of the comparison itself, seed by seed, so that arms alternate in time.

        Args:
            rates: the chosen rate of every optimiser.
            beta1: the one chosen for NAdamW; None where its default was the best.

        Returns:
            One trial for every workload, seed and arm.
        """
        return [
            self._arm(arm, workload, seed, rates, beta1)
            for seed in range(self.seeds)
            for workload in self.workloads
            for arm in self.arms
        ]

    @property
    def _calibration_seed(self) -> int:
        return self.seeds

    @property
    def _tuning_seeds(self) -> range:
        return range(self.seeds + 1, self.seeds + 1 + self.tune_seeds)

    def _arm(
        self,
        arm: str,
        workload: str,
        seed: int,
        rates: Mapping[str, float],
        beta1: float | None,
    ) -> Trial:
        if arm in ABLATIONS:
            gains, lead = ABLATIONS[arm]
            recorded = self._trial(OURS, workload, rates[OURS], self._calibration_seed, self.steps)
            trial = self._trial(OURS, workload, rates[OURS], seed, self.steps)
            return replace(trial, arm=arm, gains=gains, lead=lead, trace=recorded.name)
        name = {AGAIN: "adamw", TUNED_BETA: "nadamw"}.get(arm, arm)
        trial = replace(self._trial(name, workload, rates[name], seed, self.steps), arm=arm)
        if arm == AGAIN:
            return replace(trial, weights_seed=seed + self._tuning_seeds.stop)
        if arm == TUNED_BETA and beta1 is not None:
            return replace(trial, betas=(beta1, _BETA2))
        return trial

    def _trial(self, name: str, workload: str, lr: float, seed: int, steps: int) -> Trial:
        stage = StageConfig(
            mode="RFT" if name == OURS else "BASE",
            optimizer=name,
            steps=steps,
            batch=self.batch,
            lr=lr,
            image_size=self.image_size,
            seed=seed,
            weight_decay=0.0 if name == "adam" else self.weight_decay,
            schedule=self.schedule,
            warmup=steps // 10,
            val_every=self.val_every,
        )
        return Trial(arm=name, workload=workload, stage=stage, val_images=self.val_images)
