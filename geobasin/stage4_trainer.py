"""A run of the stage as one process sees it: its steps, windows, validations and checkpoints."""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from geobasin.distributed import Group
from geobasin.energy import EnergyMeter, EnergyWindow
from geobasin.errors import GeoBasinError
from geobasin.images import ImageSets, normalise
from geobasin.optimizers import make_optimizer
from geobasin.orbital import OrbitalCoupler, OrbitalReading
from geobasin.stage4_checkpoint import Checkpoints
from geobasin.stage4_config import StageConfig
from geobasin.stage4_model import Validation, autocast, evaluate
from geobasin.stage4_objective import make_objective
from geobasin.stage4_progress import Progress
from geobasin.telemetry import StepRecord, TelemetryLog


@dataclass(frozen=True)
class Stage:
    """What a run is made of.

    Attributes:
        config: the settings.
        sets: the images.
        model: from :func:`build_vit`, with the head of the settings, on the device that computes.
        meter: of that device.
        checkpoints: those of the run's folder.
        group: the processes that train together.
    """

    config: StageConfig
    sets: ImageSets
    model: nn.Module
    meter: EnergyMeter
    checkpoints: Checkpoints
    group: Group

    @property
    def device(self) -> torch.device:
        """What computes."""
        return next(self.model.parameters()).device


@dataclass(frozen=True)
class Seen:
    """A step's joined batch before the step.

    Attributes:
        loss: mean cross-entropy of the logits in nat, whatever is minimised.
        acc: share classified rightly, in [0, 1].
    """

    loss: float
    acc: float


class Trainer:
    """One process's share of a run.

    Args:
        stage: what the run is made of.
        log: where the lines go; None in every process but the main one.
        progress: filled along the way; where it counts steps already, weights, optimiser and
            everything else are taken from the checkpoint of that step.

    Raises:
        GeoBasinError: the checkpoint cannot be read.
    """

    def __init__(self, stage: Stage, log: TelemetryLog | None, progress: Progress) -> None:
        config = stage.config
        self._stage, self._log, self._progress = stage, log, progress
        if stage.device.type != "cpu":
            progress.telemetry_seconds = None
        self._optimizer = make_optimizer(
            config.optimizer,
            stage.model.parameters(),
            config.lr,
            config.weight_decay,
            **({"refresh": config.refresh} if config.optimizer == "dclr" else {}),
        )
        if progress.steps > 0:
            with stage.group.together():
                self._restore(progress.steps)
        self._coupler = OrbitalCoupler(self._optimizer)
        self._objective = stage.group.wrap(make_objective(config.loss, stage.model))
        self._total: Tensor | None = None
        # The step after which the open window was opened, and its length in steps when it closed.
        self._opened = progress.steps
        self._counted = 0
        self._began = self._break = 0.0

    def begin(self) -> None:
        """Start the clock and open the first window."""
        self._objective.train()
        self._stage.meter.start()
        self._began = time.perf_counter() - self._progress.seconds

    def look(self, step: int, pixels: Tensor, labels: Tensor) -> Seen | None:
        """Compute what a step is to lower; None where it is no number, and the run has to stop."""
        stage, progress = self._stage, self._progress
        progress.paused, self._break = progress.paused + self._break, 0.0
        labels = labels.to(stage.device, non_blocking=True)
        with autocast(stage.device):
            images = normalise(pixels.to(stage.device, non_blocking=True))
            self._total, logits = self._objective(images, labels)
            loss = F.cross_entropy(logits.detach(), labels)
        right = (logits.detach().argmax(1) == labels).float().mean()
        # All processes hold as many images, so that the mean of their means is the batch's.
        sums = stage.group.sums(torch.stack([self._total.detach(), loss, right]).tolist())
        seen = Seen(*(total / stage.group.size for total in sums[1:]))
        sound = all(map(math.isfinite, sums[:2]))
        if stage.group.is_main:
            if sound:
                stage.checkpoints.confirm(step - 1)
            else:
                stage.checkpoints.reject(step - 1)
        if not sound:
            progress.stopped = f"the loss of step {step} is not a finite number"
            return None
        return seen

    def step(self, step: int) -> OrbitalReading | None:
        """Take the step of the loss last looked at; observe it where it is to be told."""
        stage, progress, optimizer = self._stage, self._progress, self._optimizer
        assert self._total is not None
        for group in optimizer.param_groups:
            group["lr"] = stage.config.rate(step)
        optimizer.zero_grad()
        self._total.backward()
        self._total = None
        reading = None
        if self._log is not None and stage.config.told(step):
            times = [time.perf_counter()]
            self._coupler.before_step()
            times.append(time.perf_counter())
            optimizer.step()
            times.append(time.perf_counter())
            reading = self._coupler.after_step()
            times.append(time.perf_counter())
            progress.observed(times[1] - times[0] + times[3] - times[2])
        else:
            optimizer.step()
        progress.steps, progress.seconds = step, time.perf_counter() - self._began
        return reading

    def close_window(self, step: int) -> EnergyWindow | None:
        """Close the window of energy where it is long enough or a pause follows; else None."""
        config, meter = self._stage.config, self._stage.meter
        pause = config.judged(step) or self._due(step)
        if not (pause or (config.told(step) and meter.ripe())):
            return None
        self._counted, self._opened = step - self._opened, step
        return meter.lap()

    def judge(self, step: int, images: DataLoader[tuple[Tensor, Tensor]]) -> Validation | None:
        """Validate, and see whether the target is reached; None where the loss is no number."""
        progress, target = self._progress, self._stage.config.until_target
        began = time.perf_counter()
        validation = evaluate(self._stage.model, images, self._stage.group)
        self._break += time.perf_counter() - began
        if not math.isfinite(validation.loss):
            progress.stopped = f"the validation loss after step {step} is not a finite number"
            return None
        progress.judge(validation)
        if target is not None and validation.loss <= target:
            progress.reached = {
                "steps": step,
                "seconds": progress.training_seconds,
                "joules": self._stage.meter.total().joules,
            }
        return validation

    def tell(
        self,
        step: int,
        seen: Seen,
        reading: OrbitalReading | None,
        window: EnergyWindow | None,
        validation: Validation | None,
    ) -> None:
        """Write the step's line."""
        if self._log is None or reading is None:
            return
        began = time.perf_counter()
        config, meter = self._stage.config, self._stage.meter
        self._log.write(
            StepRecord(
                mode=config.mode,
                step=step,
                drift=reading.drift,
                flux=reading.flux,
                E_ret=reading.e_ret,
                coh=reading.coh,
                loss=seen.loss,
                acc=seen.acc,
                tempC=meter.celsius(),
                t=self._progress.seconds,
                val_loss=None if validation is None else validation.loss,
                val_acc=None if validation is None else validation.acc,
                **_joules(window, self._counted, meter),
            )
        )
        self._progress.observed(time.perf_counter() - began)

    def pause(self, step: int) -> None:
        """Keep a checkpoint where one is due; what a pause spent belongs to no step."""
        stage = self._stage
        if self._due(step) and self._log is not None:
            began = time.perf_counter()
            self._log.sync()
            kept = replace(
                self._progress,
                seconds=began - self._began,
                paused=self._progress.paused + self._break,
            )
            stage.checkpoints.save(
                step,
                stage.model,
                self._optimizer,
                {**kept.saved(), "energy": stage.meter.sums()},
            )
            self._break += time.perf_counter() - began
        if step < stage.config.steps and (stage.config.judged(step) or self._due(step)):
            stage.meter.start()

    def end(self) -> None:
        """Close the last window and sum up."""
        if self._opened < self._progress.steps:
            self._stage.meter.lap()
        self._progress.energy = self._stage.meter.total()

    def _due(self, step: int) -> bool:
        return step < self._stage.config.steps and self._stage.checkpoints.due(step)

    def _restore(self, step: int) -> None:
        stage, progress = self._stage, self._progress
        resumed = progress.resumed
        saved = stage.checkpoints.restore(step, stage.model, self._optimizer)
        try:
            progress.restore(saved)
            stage.meter.go_on(saved["energy"])
        except (LookupError, TypeError, ValueError) as error:
            raise GeoBasinError(
                f"{stage.checkpoints.path(step)} lacks {error}; start a new run"
            ) from error
        progress.resumed = [*progress.resumed, *resumed]


def _joules(window: EnergyWindow | None, steps: int, meter: EnergyMeter) -> dict[str, Any]:
    """The record's fields on energy; null for steps at which no window closed."""
    if window is None or window.joules is None:
        return {"J_step": None, "J_source": meter.source.name}
    return {
        "J_step": window.joules / steps,
        "J_source": window.source,
        "J_window_s": window.seconds,
        "J_window_steps": steps,
        "J_idle_share": window.idle_share,
    }
