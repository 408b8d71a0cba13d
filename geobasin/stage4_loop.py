"""The training loop of the ViT-Tiny stage, and what it measures on the way."""

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from geobasin.dclr import OrbitalCoupler
from geobasin.energy import EnergyMeter, EnergyWindow
from geobasin.image_folder import optional
from geobasin.images import ImageSets, normalise
from geobasin.optimizers import make_optimizer
from geobasin.stage4_config import StageConfig
from geobasin.stage4_data import step_loader, val_loader
from geobasin.telemetry import StepRecord, TelemetryLog


@dataclass(frozen=True)
class Validation:
    """What the validation images say.

    Attributes:
        loss: mean cross-entropy in nat.
        acc: share classified rightly, in [0, 1].
    """

    loss: float
    acc: float


@dataclass
class Progress:
    """How far a run has come; it is filled as the run goes, so that a failure leaves it true.

    Attributes:
        steps: steps taken.
        seconds: from the start of the first step to the end of the last, validations in between
            included.
        validation: after the last step; None where it was not reached.
        energy: of all training steps; None before the first.
        stopped: why the run ended before its last step; None where it did not.
    """

    steps: int = 0
    seconds: float = 0.0
    validation: Validation | None = None
    energy: EnergyWindow | None = None
    stopped: str | None = None


def build_vit(image_size: int, num_classes: int, seed: int) -> nn.Module:
    """Make timm's ViT-Tiny: patch 16, dim 192, depth 12, heads 3, a CLS token; nothing pretrained.

    Args:
        image_size: side in pixels, a multiple of 16.
        num_classes: C, >= 2.
        seed: of the weights; torch's own generator is left as it was.

    Returns:
        A model from ``[B, 3, S, S]`` float to logits ``[B, C]``.

    Raises:
        GeoBasinError: timm is not installed.
    """
    timm = optional("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(
            "vit_tiny_patch16_224", pretrained=False, img_size=image_size, num_classes=num_classes
        )
    return model


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Compute in bfloat16 where the device does so in hardware, else as the parameters are.

    Args:
        device: what computes.

    Returns:
        A context for the forward pass.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether the stage computes in bfloat16 on this device: a CUDA device that has it."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


@torch.no_grad()
def evaluate(model: nn.Module, images: DataLoader[tuple[Tensor, Tensor]]) -> Validation:
    """Judge a model by all images of a loader.

    Args:
        model: logits ``[B, C]`` from ``[B, 3, S, S]``.
        images: batches ``([B, 3, S, S] uint8, [B] int64)``.

    Returns:
        Mean loss and accuracy.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    total, right, seen = 0.0, 0, 0
    for pixels, labels in images:
        labels = labels.to(device, non_blocking=True)
        with autocast(device):
            logits = model(normalise(pixels.to(device, non_blocking=True))).float()
        total += F.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
        seen += len(labels)
    model.train(training)
    return Validation(total / seen, right / seen)


def train(
    config: StageConfig,
    sets: ImageSets,
    model: nn.Module,
    meter: EnergyMeter,
    log: TelemetryLog,
    progress: Progress,
    workers: int = 0,
    quiet: bool = False,
) -> None:
    """Train, and write a line for every step that is to be told.

    The loss is read at every step, before the step is taken, so that one that is not a number stops
    the run with the last sound weights.

    Args:
        config: the settings.
        sets: the images.
        model: from :func:`build_vit`, on the device that computes.
        meter: of that device.
        log: where the lines go.
        progress: filled along the way.
        workers: processes that decode images.
        quiet: show no progress bar on stderr.

    Raises:
        GeoBasinError: an image cannot be read, or the log cannot be written.
    """
    device = next(model.parameters()).device
    optimizer = make_optimizer(
        config.optimizer,
        model.parameters(),
        config.lr,
        config.weight_decay,
        **({"refresh": config.refresh} if config.optimizer == "dclr" else {}),
    )
    coupler = OrbitalCoupler(optimizer)
    batches = step_loader(
        sets.train, len(sets.train), config.batch, config.seed, 1, config.steps, workers
    )
    judged = val_loader(sets.val, config.batch, workers)
    model.train()
    meter.start()
    began, opened = time.perf_counter(), 0
    bar = tqdm(batches, desc=f"{config.mode} ({config.optimizer})", unit="step", disable=quiet)
    for step, (pixels, labels) in enumerate(bar, start=1):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        labels = labels.to(device, non_blocking=True)
        with autocast(device):
            logits = model(normalise(pixels.to(device, non_blocking=True))).float()
            loss = F.cross_entropy(logits, labels)
        right = (logits.detach().argmax(1) == labels).float().mean()
        loss_now, acc_now = torch.stack([loss.detach(), right]).tolist()
        if not math.isfinite(loss_now):
            progress.stopped = f"the loss of step {step} is not a finite number"
            break
        optimizer.zero_grad()
        loss.backward()
        judge = step == config.steps or (config.val_every > 0 and step % config.val_every == 0)
        told = judge or step == 1 or step % config.telemetry_every == 0
        if told:
            reading = coupler.step()
        else:
            optimizer.step()
        progress.steps, progress.seconds = step, time.perf_counter() - began
        bar.set_postfix(loss=f"{loss_now:.3f}", refresh=False)
        if not told:
            continue
        window, counted, validation = None, step - opened, None
        if judge or meter.ripe():
            window, opened = meter.lap(), step
        if judge:
            validation = evaluate(model, judged)
            if not math.isfinite(validation.loss):
                progress.stopped = f"the validation loss after step {step} is not a finite number"
                validation = None
            progress.validation = validation
        log.write(
            StepRecord(
                mode=config.mode,
                step=step,
                drift=reading.drift,
                flux=reading.flux,
                E_ret=reading.e_ret,
                coh=reading.coh,
                loss=loss_now,
                acc=acc_now,
                tempC=meter.celsius(),
                t=progress.seconds,
                val_loss=None if validation is None else validation.loss,
                val_acc=None if validation is None else validation.acc,
                **_joules(window, counted, meter),
            )
        )
        if progress.stopped:
            break
        if judge and step < config.steps:
            # What validation spent belongs to no step.
            meter.start()
    bar.close()
    if opened < progress.steps:
        meter.lap()
    progress.energy = meter.total()


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
