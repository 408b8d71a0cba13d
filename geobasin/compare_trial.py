"""One training in a comparison of optimisers: what it is, and running it."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from geobasin.compare_record import Judged, TrialResult
from geobasin.dclr import DCLR
from geobasin.dclr_ablations import (
    PrescribedGains,
    mean_rate,
    permute_tensors,
    shuffle_coherence,
    static_gains,
)
from geobasin.dclr_trace import GainTrace, record_gains
from geobasin.energy import EnergyMeter
from geobasin.errors import GeoBasinError
from geobasin.images import CachedImages, normalise
from geobasin.optimizers import make_optimizer
from geobasin.stage4_config import StageConfig
from geobasin.stage4_data import step_loader, val_loader
from geobasin.stage4_loop import autocast, build_vit, evaluate
from geobasin.tensors import read_tensors, save_tensors
from geobasin.workloads import load_workload, some_of

_JUDGED_AT_ONCE = 250


def _shuffled_coherence(trace: GainTrace, seed: int) -> Tensor:
    default = DCLR([torch.nn.Parameter(torch.zeros(1))]).defaults
    return shuffle_coherence(trace, default["memory"], default["coupling"], default["bound"], seed)


# Log gains [steps, tensors] from those of another run, and a seed.
SCHEDULES: dict[str, Callable[[GainTrace, int], Tensor]] = {
    "mean": lambda trace, seed: mean_rate(trace),
    "static": lambda trace, seed: static_gains(trace),
    "replay": lambda trace, seed: trace.log_gains,
    "shuffled coherence": _shuffled_coherence,
    "permuted": permute_tensors,
}


@dataclass(frozen=True)
class Trial:
    """Everything that decides one training.

    Attributes:
        arm: the name under which it is compared.
        workload: as for :func:`geobasin.workloads.load_workload`.
        stage: batch, steps, rate, schedule, optimiser, seed of the order of the images.
        val_images: validation images looked at, the same ones in every trial, >= 1.
        betas: of an Adam-like optimiser.
        weights_seed: of the weights at the start; None takes the seed of the order.
        gains: how the gains of DCLR are prescribed, one of :data:`SCHEDULES`; empty where its
            coupler steers them, and for every other optimiser.
        lead: of DCLR with prescribed gains, in [0, 1].
        trace: name of the trial whose recorded gains they are made of.
        record: whether DCLR's own gains are recorded.
    """

    arm: str
    workload: str
    stage: StageConfig
    val_images: int
    betas: tuple[float, float] | None = None
    weights_seed: int | None = None
    gains: str = ""
    lead: float = 1.0
    trace: str = ""
    record: bool = False

    @property
    def name(self) -> str:
        """Path of the trial's file in the folder of the comparison, without its ending."""
        place = Path(self.workload).name
        beta = "" if self.betas is None else f"-beta{self.betas[0]:g}"
        arm = self.arm.replace(" ", "-").replace(",", "")
        return f"{place}/{arm}-lr{self.stage.lr:g}{beta}-seed{self.stage.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Give the trial as JSON holds it; of a folder of images its name alone."""
        return {**asdict(self), "workload": Path(self.workload).name}


def run_trial(
    trial: Trial, folder: Path, device: torch.device, meter: EnergyMeter | None = None
) -> TrialResult:
    """Train once, and keep what came of it.

    Args:
        trial: what to train.
        folder: of the comparison; the result goes to ``<folder>/<trial.name>.json``, recorded gains
            beside it.
        device: what computes.
        meter: of that device; None leaves the joules unmeasured.

    Returns:
        The result. A loss that is no finite number ends the training, and ``stopped`` tells where.

    Raises:
        GeoBasinError: bad images, a missing trace, or a refused write.
    """
    stage = trial.stage
    sets = load_workload(trial.workload, stage.image_size)
    weights = stage.seed if trial.weights_seed is None else trial.weights_seed
    model = build_vit(stage.image_size, len(sets.class_names), weights).to(device)
    optimizer = _optimizer(trial, folder, list(model.parameters()))
    recorder = record_gains(optimizer) if trial.record and isinstance(optimizer, DCLR) else None
    batches = step_loader(sets.train, len(sets.train), stage.batch, stage.seed, 1, stage.steps)
    _make_images(sets.train, batches)
    chosen = some_of(sets.val, trial.val_images)
    judges: DataLoader[tuple[Tensor, Tensor]] = val_loader(chosen, _JUDGED_AT_ONCE)
    losses: list[float | None] = []
    judged: list[Judged] = []
    stopped, seconds, joules = None, 0.0, None if meter is None else 0.0
    model.train()
    began = time.perf_counter()
    if meter is not None:
        meter.start()
    for step, (pixels, labels) in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = stage.rate(step)
        with autocast(device):
            logits = model(normalise(pixels.to(device))).float()
            loss = F.cross_entropy(logits, labels.to(device))
        now = loss.item()
        losses.append(now if math.isfinite(now) else None)
        if losses[-1] is None:
            stopped = f"the loss of step {step} is not a finite number"
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % stage.val_every and step < stage.steps:
            continue
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds += time.perf_counter() - began
        if meter is not None:
            spent = meter.lap().joules
            joules = None if spent is None or joules is None else joules + spent
        validation = evaluate(model, judges)
        known = validation.loss if math.isfinite(validation.loss) else None
        judged.append(Judged(step, known, validation.acc, seconds, joules))
        began = time.perf_counter()
        if meter is not None:
            meter.start()
    source = "unavailable" if meter is None else meter.source.name
    result = TrialResult(trial.as_dict(), losses, judged, source, stopped)
    if recorder is not None:
        save_tensors(folder / f"{trial.name}.safetensors", vars(recorder.trace()), {})
    result.write(folder / f"{trial.name}.json")
    return result


def finished(trial: Trial, folder: Path) -> TrialResult | None:
    """Read the result of a trial that was run before.

    Args:
        trial: what was to be trained.
        folder: of the comparison.

    Returns:
        The result; None where there is none.

    Raises:
        GeoBasinError: the file is another trial's.
    """
    path = folder / f"{trial.name}.json"
    if not path.exists():
        return None
    result = TrialResult.read(path)
    ours = _plain(trial.as_dict())
    if result.trial != ours:
        odd = next(key for key in ours if result.trial.get(key) != ours[key])
        raise GeoBasinError(f"{path} was made with another {odd}; name a new folder")
    return result


def _make_images(images: CachedImages, batches: DataLoader[tuple[Tensor, Tensor]]) -> None:
    """Make the images before the clock starts: what decoding costs is not the optimiser's."""
    assert batches.batch_sampler is not None
    for index in set(chain.from_iterable(batches.batch_sampler)):
        images[index]


def _optimizer(
    trial: Trial, folder: Path, parameters: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    stage = trial.stage
    if not trial.gains:
        options = {} if trial.betas is None else {"betas": trial.betas}
        return make_optimizer(stage.optimizer, parameters, stage.lr, stage.weight_decay, **options)
    recorded, _ = read_tensors(folder / f"{trial.trace}.safetensors")
    trace = GainTrace(recorded["log_gains"], recorded["coherence"])
    schedule = SCHEDULES[trial.gains](trace, stage.seed)
    return PrescribedGains(
        parameters, schedule, lr=stage.lr, weight_decay=stage.weight_decay, lead=trial.lead
    )


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """What JSON makes of it: tuples become lists."""
    return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}
