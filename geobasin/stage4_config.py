"""Every setting of the ViT-Tiny stage, and its command line."""

import argparse
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geobasin.errors import GeoBasinError
from geobasin.optimizers import NAMES

PATCH = 16
MODES = {"RFT": "dclr", "BASE": "adam"}
SCHEDULES = ("constant", "cosine")
HEADS = ("linear", "basin")
LOSSES = ("cross-entropy", "basin")
_LARGEST_BATCH = 2**20
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class StageConfig:
    """Everything that decides a run of the stage, besides the images.

    Attributes:
        mode: ``RFT`` (DCLR with its coupler) or ``BASE`` (torch's Adam).
        steps: steps of the optimiser, >= 1.
        batch: images in a step, >= 1.
        lr: learning rate, > 0.
        image_size: side in pixels, a multiple of the patch (16) and at least two patches.
        seed: of the weights, of the order of the images, and of fractal images; in [0, 2^32).
        optimizer: takes the mode's place; one of :data:`geobasin.optimizers.NAMES`.
        weight_decay: >= 0.
        refresh: DCLR measures its coherence every so many steps, >= 1; others ignore it.
        schedule: ``constant``, or ``cosine`` down to 0 at the last step.
        warmup: steps over which the rate rises linearly, >= 0.
        telemetry_every: steps between two lines of the log, >= 1.
        val_every: steps between two validations; 0 validates after the last step alone.
        until_target: validation loss in nat, > 0, at which the run ends; None takes every step.
        head: the classifier on ViT-Tiny's features: ``linear`` (timm's own) or ``basin``
            (:class:`geobasin.model.GeoFractalDavid`).
        loss: what is minimised: ``cross-entropy`` of the logits, or ``basin``, the total of
            :class:`geobasin.loss.BasinLoss`, which needs the basins of that head.

    Raises:
        GeoBasinError: a setting is unknown or out of its range, or two do not go together.
    """

    mode: str
    steps: int = 1000
    batch: int = 256
    lr: float = 5e-4
    image_size: int = 224
    seed: int = 1234
    optimizer: str = ""
    weight_decay: float = 0.0
    refresh: int = 1
    schedule: str = "constant"
    warmup: int = 0
    telemetry_every: int = 1
    val_every: int = 0
    until_target: float | None = None
    head: str = "linear"
    loss: str = "cross-entropy"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise GeoBasinError(f"no mode {self.mode!r}; use RFT or BASE")
        if not self.optimizer:
            object.__setattr__(self, "optimizer", MODES[self.mode])
        if self.optimizer not in NAMES:
            raise GeoBasinError(
                f"no optimiser {self.optimizer!r} here; choose one of {', '.join(NAMES)}"
            )
        if self.schedule not in SCHEDULES:
            raise GeoBasinError(f"no schedule {self.schedule!r}; use constant or cosine")
        if self.head not in HEADS:
            raise GeoBasinError(f"no head {self.head!r}; use {' or '.join(HEADS)}")
        if self.loss not in LOSSES:
            raise GeoBasinError(f"no loss {self.loss!r}; use {' or '.join(LOSSES)}")
        if self.loss == "basin" and self.head != "basin":
            raise GeoBasinError("loss 'basin' needs the basins of head 'basin'; give --head basin")
        for name in ("steps", "batch", "telemetry_every", "refresh"):
            if getattr(self, name) < 1:
                raise GeoBasinError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.batch > _LARGEST_BATCH:
            raise GeoBasinError(f"batch must be at most {_LARGEST_BATCH}, not {self.batch}")
        for name in ("warmup", "val_every", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise GeoBasinError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.lr < math.inf:
            raise GeoBasinError(f"lr must be above 0, not {self.lr}")
        if self.until_target is not None:
            if not 0 < self.until_target < math.inf:
                raise GeoBasinError(f"until_target must be above 0, not {self.until_target}")
            if self.val_every == 0:
                raise GeoBasinError("until_target needs validations on the way; set val_every")
        if not 0 <= self.seed < 2**32:
            raise GeoBasinError(f"seed must lie in [0, 2^32), not {self.seed}")
        if self.image_size < 2 * PATCH or self.image_size % PATCH:
            raise GeoBasinError(
                f"image_size {self.image_size} does not suit patches of {PATCH} pixels; "
                f"use {2 * PATCH}, {3 * PATCH}, ... or 224"
            )

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as JSON holds them."""
        return asdict(self)

    def rate(self, step: int) -> float:
        """Give the learning rate of a step.

        Args:
            step: from 1 to ``steps``.

        Returns:
            lr, times step / warmup while that is below 1, times the schedule's factor in [0, 1].
        """
        rise = min(1.0, step / self.warmup) if self.warmup else 1.0
        if self.schedule == "constant" or step <= self.warmup:
            return self.lr * rise
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * done))

    def judged(self, step: int) -> bool:
        """Tell whether a step, from 1 to ``steps``, is followed by a validation."""
        return step == self.steps or (self.val_every > 0 and step % self.val_every == 0)

    def told(self, step: int) -> bool:
        """Tell whether a step, from 1 to ``steps``, has a line in the log."""
        return step == 1 or step % self.telemetry_every == 0 or self.judged(step)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the stage's options.

    Args:
        parser: of ``python -m geobasin.stage4`` or of a subcommand.
    """
    default = StageConfig(mode="RFT")
    add = parser.add_argument
    add("--mode", required=True, help="RFT (DCLR with its coupler) or BASE (torch's Adam)")
    add("--steps", type=int, default=default.steps, help="steps (default: %(default)s)")
    add("--batch", type=int, default=default.batch, help="images a step (default: %(default)s)")
    add("--lr", type=float, default=default.lr, help="learning rate (default: %(default)s)")
    add(
        "--data_dir",
        "--data-dir",
        type=Path,
        help="folder with train/<class>/<image> and val/...; without it, fractal images",
    )
    add(
        "--classes",
        metavar="SLICE",
        help="of that folder, those at these places among the sorted classes: 0::2, 1::2, 0:100",
    )
    add("--head", default=default.head, help="linear or basin, a GeoFractalDavid")
    add("--loss", default=default.loss, help="cross-entropy, or basin with --head basin")
    add(
        "--image_size",
        "--image-size",
        type=int,
        default=default.image_size,
        help="side in pixels, a multiple of 16 (default: %(default)s)",
    )
    add("--seed", type=int, default=default.seed, help="default: %(default)s")
    add("--out", type=Path, help="new folder (default: runs/stage4/<mode>-seed<seed>)")
    add("--optimizer", default="", help=f"in the mode's place: {', '.join(NAMES)}")
    add("--weight-decay", type=float, default=default.weight_decay, help="default: %(default)s")
    add("--refresh", type=int, default=default.refresh, help="DCLR's coupler, every N steps")
    add("--schedule", default=default.schedule, help="constant or cosine (default: %(default)s)")
    add("--warmup", type=int, default=default.warmup, help="steps of rising rate")
    add("--telemetry-every", type=int, default=default.telemetry_every, help="log every N steps")
    add("--val-every", type=int, default=default.val_every, help="validate every N steps, and last")
    add(
        "--until-target",
        type=float,
        metavar="LOSS",
        help="stop at the first validation loss as low as this; needs --val-every",
    )
    add("--resume", action="store_true", help="go on with an interrupted run of these settings")
    add(
        "--checkpoint-every",
        type=int,
        default=CHECKPOINT_EVERY,
        metavar="N",
        help="keep what --resume needs every N steps; 0 never does (default: %(default)s)",
    )
    add("--no-weights", action="store_true", help="keep the trained weights' digest alone")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: %(default)s)")
    add("--workers", type=int, default=0, help="processes that decode images")
    add("--idle-seconds", type=float, default=0.0, help="first measure the idle power so long")
    add("--assumed-watts", type=float, help="estimate joules with this power a busy CPU core")
    add("--quiet", action="store_true", help="no progress bar")


def config_from(arguments: argparse.Namespace) -> StageConfig:
    """Read the settings from parsed options.

    Args:
        arguments: what a parser with :func:`add_arguments` gave.

    Returns:
        The settings.

    Raises:
        GeoBasinError: one of them is unknown or out of its range.
    """
    names = StageConfig.__dataclass_fields__
    return StageConfig(**{name: getattr(arguments, name) for name in names})
