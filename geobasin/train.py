"""Training GeoFractalDavid on frozen features that live on the device."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from geobasin.config import TrainConfig
from geobasin.dclr import DCLR
from geobasin.evaluation import Evaluation, evaluate
from geobasin.feature_set import FeatureSet
from geobasin.initial import initialise
from geobasin.loss import BasinLoss, BasinTerms
from geobasin.machine import pick_device
from geobasin.model import GeoFractalDavid


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch left behind.

    Attributes:
        epoch: counted from 1.
        terms: mean of every term of the loss over the epoch's rows.
        val: evaluation on the validation rows.
        alpha: the staircase's middle height.
        geometric_weights: ``{scale: {feature, cantor, crystal}}``.
        lr: rate of the heads at the last step.
        seconds: duration, evaluation included.
    """

    epoch: int
    terms: dict[str, float]
    val: Evaluation
    alpha: float
    geometric_weights: dict[int, dict[str, float]]
    lr: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON can hold it, scales as strings."""
        return {
            **asdict(self),
            "val": {
                "accuracy": self.val.accuracy,
                "scale_accuracy": _named(self.val.scale_accuracy),
            },
            "geometric_weights": _named(self.geometric_weights),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "EpochRecord":
        """The record that :meth:`as_dict` gave."""
        val = record["val"]
        scale_accuracy = {int(scale): share for scale, share in val["scale_accuracy"].items()}
        weights = {int(scale): parts for scale, parts in record["geometric_weights"].items()}
        evaluation = Evaluation(val["accuracy"], scale_accuracy)
        return cls(**(record | {"val": evaluation, "geometric_weights": weights}))


def _named(by_scale: dict[int, Any]) -> dict[str, Any]:
    return {str(scale): value for scale, value in by_scale.items()}


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
        history: a record for every finished epoch.
    """

    features: FeatureSet
    config: TrainConfig
    model: GeoFractalDavid
    loss: BasinLoss
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    history: list[EpochRecord] = field(default_factory=list)

    @classmethod
    def start(
        cls, features: FeatureSet, config: TrainConfig, device: str | torch.device = "cpu"
    ) -> "Training":
        """Build the model, initialise it from the training rows and set the optimiser up.

        Args:
            features: to learn from.
            config: the settings.
            device: where features and model live.

        Returns:
            A run before its first step.

        Raises:
            GeoBasinError: no such device here, or a setting outside its range.
        """
        place = pick_device(device)
        features = features.to(place)
        model = config.build_model(features).to(place)
        initialise(model, features.train.features, features.train.labels)
        kind = DCLR if config.optimizer == "dclr" else torch.optim.AdamW
        optimizer = kind(parameter_groups(model, config), lr=config.lr)
        steps = config.epochs * math.ceil(len(features.train) / config.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, steps, config)
        )
        return cls(features, config, model, config.build_loss(), optimizer, schedule)

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
        """
        started = time.perf_counter()
        terms = self.train_epoch(on_step)
        record = EpochRecord(
            epoch=len(self.history) + 1,
            terms=terms,
            val=evaluate(self.model, self.features.val),
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
        """
        epoch = self.schedule.last_epoch // self.steps_per_epoch + 1
        train = self.features.train
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train), generator=generator).to(train.labels.device)
        self.model.train()
        sums = torch.zeros(len(BasinTerms._fields), device=train.labels.device)
        for rows in order.split(self.config.batch):
            terms = self._step(train.features[rows], train.labels[rows])
            sums += torch.stack([term.detach() for term in terms]) * len(rows)
            if on_step is not None:
                on_step()
        means = (sums / len(train)).tolist()
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

    def _step(self, features: Tensor, labels: Tensor) -> BasinTerms:
        terms: BasinTerms = self.loss(self.model.score(features), labels)
        self.optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        if self.config.gradient_clip > 0:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        return terms


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
