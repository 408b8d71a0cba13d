"""Training GeoFractalDavid on frozen features that live on the device."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geobasin.config import TrainConfig
from geobasin.dclr import DCLR
from geobasin.distributed import Group
from geobasin.epoch_record import EpochRecord
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.feature_set import FeatureSet
from geobasin.initial import MOST_ROWS, initialise
from geobasin.loss import BasinLoss, BasinTerms
from geobasin.model import GeoFractalDavid
from geobasin.objective import Objective

__all__ = ["EpochRecord", "Training", "build_optimizer", "fit", "parameter_groups", "rate_factor"]

# Devices on which torch's AdamW takes a whole step in one pass over the weights.
_FUSED = ("cpu", "cuda")


def parameter_groups(model: GeoFractalDavid, config: TrainConfig) -> list[dict[str, Any]]:
    """Parameters by rate and decay: heads at lr, fusion at lr/2, Cantor stairs at lr/10.

    Only the matrices of the projections decay. Decay would pull simplices to the origin, where
    their cosines mean nothing, and scalars to arbitrary values.

    Args:
        model: the model.
        config: for lr and weight_decay.

    Returns:
        Groups for any torch optimiser.
    """
    projections = [
        module.weight for module in model.heads.modules() if isinstance(module, nn.Linear)
    ]
    decaying = set(projections)
    heads = [parameter for parameter in model.heads.parameters() if parameter not in decaying]
    stairs = list(model.cantor_stairs.parameters())
    return [
        {"params": projections, "weight_decay": config.weight_decay},
        {"params": heads, "weight_decay": 0.0},
        {"params": [model.fusion_weights], "lr": config.lr * 0.5, "weight_decay": 0.0},
        {"params": stairs, "lr": config.lr * 0.1, "weight_decay": 0.0},
    ]


def build_optimizer(model: GeoFractalDavid, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or DCLR over :func:`parameter_groups`.

    Args:
        model: on the device where it will be trained.
        config: the settings.

    Returns:
        The optimiser, AdamW in its fused form where torch has one.
    """
    groups = parameter_groups(model, config)
    if config.optimizer == "dclr":
        return DCLR(groups, lr=config.lr)
    fused = model.fusion_weights.device.type in _FUSED
    return torch.optim.AdamW(groups, lr=config.lr, fused=fused)


@dataclass
class Training:
    """A training run in memory: what it needs to go on, epoch by epoch.

    Attributes:
        features: on the device.
        config: the settings.
        model: being trained.
        loss: the loss.
        optimizer: AdamW or DCLR over :func:`parameter_groups`.
        schedule: rate of each step.
        objective: model and loss as the steps call them: compiled, or joined with those of other
            processes, where that is wanted.
        group: the processes that train together.
        history: a record for every finished epoch.
    """

    features: FeatureSet
    config: TrainConfig
    model: GeoFractalDavid
    loss: BasinLoss
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    objective: Callable[[Tensor, Tensor], BasinTerms]
    group: Group = field(default_factory=Group)
    history: list[EpochRecord] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        features: FeatureSet,
        config: TrainConfig,
        device: str | torch.device = "cpu",
        group: Group | None = None,
    ) -> "Training":
        """Build the model, initialise it from the training rows and set the optimiser up.

        Args:
            features: to learn from.
            config: the settings.
            device: where features and model live.
            group: the processes that train together, each with its share of every batch.

        Returns:
            A run before its first step.

        Raises:
            GeoBasinError: no such device here, or a setting outside its range.
        """
        group = group or Group()
        place = group.device(device)
        features = features.to(place)
        model = config.build_model(features).to(place)
        initialise(model, *features.train.sample(MOST_ROWS))
        optimizer = build_optimizer(model, config)
        steps = config.epochs * math.ceil(len(features.train) / config.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, steps, config)
        )
        loss = config.build_loss()
        objective = group.wrap(Objective(model, loss, config.precision))
        if config.compile:
            objective.compile()
        return cls(features, config, model, loss, optimizer, schedule, objective, group)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one epoch."""
        return math.ceil(len(self.features.train) / self.config.batch)

    def run_epoch(self, on_step: Callable[[], object] | None = None) -> EpochRecord:
        """Train on every row once, in an order drawn from the seed and the epoch, then validate.

        Args:
            on_step: called after every step, such as a progress bar's ``update``.

        Returns:
            The epoch's record, which the history holds as well.

        Raises:
            GeoBasinError: a loss or a weight that is not finite; the step is named.
        """
        started = time.perf_counter()
        terms = self.train_epoch(on_step)
        record = EpochRecord(
            epoch=len(self.history) + 1,
            terms=terms,
            val=evaluate(self.model, self.features.val, self.group),
            alpha=self.model.cantor_stairs.alpha.item(),
            geometric_weights=self.model.get_geometric_weights(),
            lr=float(self.optimizer.param_groups[0]["lr"]),
            seconds=time.perf_counter() - started,
        )
        self.history.append(record)
        return record

    def train_epoch(self, on_step: Callable[[], object] | None = None) -> dict[str, float]:
        """Train on every row once, without validation and without a record.

        Args:
            on_step: as in :meth:`run_epoch`.

        Returns:
            Mean of every term of the loss over the rows.

        Raises:
            GeoBasinError: a loss or a weight that is not finite; the step is named.
        """
        epoch = self.schedule.last_epoch // self.steps_per_epoch + 1
        train = self.features.train
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        self.model.train()
        sums = torch.zeros(len(BasinTerms._fields), device=train.labels.device)
        losses: list[Tensor] = []
        for features, labels in train.batches(self.config.batch, generator):
            terms, rows = self._step(features, labels)
            values = torch.stack([term.detach() for term in terms])
            sums += values * rows
            losses.append(values[0])
            if on_step is not None:
                on_step()
        with self.group.together():
            self._require_finite(torch.stack(losses), epoch)
        means = [total / len(train) for total in self.group.sums(sums.tolist())]
        return dict(zip(BasinTerms._fields, means, strict=True))

    def remaining(self, progress: bool = False) -> Iterator[EpochRecord]:
        """Run the epochs that are left.

        Args:
            progress: show a bar on stderr, with the last epoch's loss and accuracy.

        Yields:
            Each epoch's record as it ends.
        """
        with tqdm(
            total=self.config.epochs * self.steps_per_epoch,
            initial=len(self.history) * self.steps_per_epoch,
            unit="step",
            disable=not progress,
        ) as bar:
            while len(self.history) < self.config.epochs:
                bar.set_description(f"epoch {len(self.history) + 1}/{self.config.epochs}")
                record = self.run_epoch(on_step=bar.update)
                bar.set_postfix(loss=record.terms["total"], val=record.val.accuracy)
                yield record

    def _require_finite(self, losses: Tensor, epoch: int) -> None:
        # Read once an epoch: reading every step's loss would make a GPU wait at every step.
        begun = (epoch - 1) * self.steps_per_epoch
        for step, loss in enumerate(losses.tolist(), start=begun + 1):
            if not math.isfinite(loss):
                raise GeoBasinError(f"the loss is {loss} at step {step} (epoch {epoch}); lower lr")
        if not all(bool(torch.isfinite(p).all()) for p in self.model.parameters()):
            raise GeoBasinError(f"weights are not finite after epoch {epoch}; lower lr")

    def _step(self, features: Tensor, labels: Tensor) -> tuple[BasinTerms, int]:
        """One step on a batch, of which this process takes its share.

        Args:
            features: of the joined batch, [B, D].
            labels: [B].

        Returns:
            The terms of this process's share, and its rows.
        """
        rank, size = self.group.rank, self.group.size
        rows = len(labels[rank::size])
        # A process without a row of its own takes one for nothing: all must take part.
        own = slice(rank, None, size) if rows else slice(0, 1)
        terms = self.objective(features[own], labels[own])
        self.optimizer.zero_grad(set_to_none=True)
        # The group averages gradients over processes; what counts is the mean over rows.
        (terms.total * (rows * size / len(labels))).backward()
        if self.config.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        return terms, rows


def fit(
    features: FeatureSet,
    config: TrainConfig | None = None,
    device: str | torch.device = "cpu",
    progress: bool = False,
) -> Training:
    """Train a model in memory, from start to end.

    Args:
        features: to learn from.
        config: the settings; the defaults where not given.
        device: where to train.
        progress: show a bar on stderr.

    Returns:
        The finished run, with ``model`` and ``history``.
    """
    training = Training.start(features, config or TrainConfig(), device)
    for _ in training.remaining(progress):
        continue
    return training


def rate_factor(step: int, steps: int, config: TrainConfig) -> float:
    """Share of the learning rate in force at a step.

    Args:
        step: counted from 0.
        steps: of the whole run.
        config: for the schedule and the warm-up.

    Returns:
        A linear rise over the warm-up, then 1 or half a cosine from 1 to 0.
    """
    warmup = round(config.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))
