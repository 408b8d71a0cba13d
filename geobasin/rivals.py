"""Training the rival heads as GeoFractalDavid is trained, each with a learning rate of its own."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from geobasin.config import TrainConfig
from geobasin.contest import Fitted, Method
from geobasin.dclr import DCLR
from geobasin.feature_set import FeatureSet, Split
from geobasin.initial import initialise
from geobasin.machine import pick_device
from geobasin.rival_heads import CosineHead, PerceptronHead, RivalHead, SoftTripleHead
from geobasin.train import rate_factor

# Bounds the memory of one pass, as in evaluation.
_ROWS = 4096

Build = Callable[[FeatureSet, TrainConfig], RivalHead]


def cosine_head(features: FeatureSet, config: TrainConfig) -> CosineHead:
    """A cosine classifier that starts at the configuration's temperature."""
    return CosineHead(features.feature_dim, features.num_classes, config.temperature)


def perceptron_head(features: FeatureSet, config: TrainConfig) -> PerceptronHead:
    """GeoFractalDavid's largest projection with a linear layer on top."""
    scale = max(config.scales)
    return PerceptronHead(started_projection(features, config), scale, features.num_classes)


def soft_triple_head(features: FeatureSet, config: TrainConfig) -> SoftTripleHead:
    """GeoFractalDavid's largest projection with as many centres a class as a simplex has."""
    scale, centres = max(config.scales), config.k + 1
    projection = started_projection(features, config)
    return SoftTripleHead(projection, scale, features.num_classes, centres)


@dataclass(frozen=True)
class Rival:
    """A rival head and the learning rates that the validation rows choose from.

    Attributes:
        build: makes the head.
        rates: learning rates, smallest first.
    """

    build: Build
    rates: tuple[float, ...]


# Four rates each, half a decade apart; a head without a hidden layer takes larger ones.
RIVALS: dict[str, Rival] = {
    "cosine classifier": Rival(cosine_head, (3e-3, 1e-2, 3e-2, 1e-1)),
    "MLP head": Rival(perceptron_head, (3e-4, 1e-3, 3e-3, 1e-2)),
    "SoftTriple": Rival(soft_triple_head, (3e-4, 1e-3, 3e-3, 1e-2)),
}


def started_projection(features: FeatureSet, config: TrainConfig) -> nn.Module:
    """The projection of GeoFractalDavid's largest scale, started as it is there.

    Args:
        features: whose training rows set the first layer's scale.
        config: for the scales and the seed.

    Returns:
        Linear, GELU, LayerNorm, Linear: [B, D] to [B, s].
    """
    scale = max(config.scales)
    model = replace(config, scales=(scale,)).build_model(features)
    model.to(features.train.features.device)
    initialise(model, features.train.features, features.train.labels)
    return model.head(scale).projection


def train_head(
    build: Build,
    features: FeatureSet,
    config: TrainConfig,
    on_epoch: Callable[[], object] = int,
) -> RivalHead:
    """Train a rival with GeoFractalDavid's optimiser, schedule, batches, clipping and smoothing.

    Args:
        build: makes the head.
        features: on the device.
        config: the settings; those of the geometry and of its loss are not used.
        on_epoch: called after every epoch.

    Returns:
        The head after the last epoch, in evaluation mode.
    """
    train = features.train
    device = train.labels.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = build(features, config).to(device)
    kind = DCLR if config.optimizer == "dclr" else torch.optim.AdamW
    optimizer = kind(_groups(head, config.weight_decay), lr=config.lr)
    steps = config.epochs * math.ceil(len(train) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_factor(step, steps, config)
    )
    head.train()
    for epoch in range(1, config.epochs + 1):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
        order = torch.randperm(len(train), generator=generator).to(device)
        for rows in order.split(config.batch):
            loss = head.loss(train.features[rows], train.labels[rows], config.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.gradient_clip > 0:
                nn.utils.clip_grad_norm_(head.parameters(), config.gradient_clip)
            optimizer.step()
            schedule.step()
        on_epoch()
    return head.eval()


def _groups(head: RivalHead, weight_decay: float) -> list[dict[str, object]]:
    # As with GeoFractalDavid, only the matrices of linear layers decay; the rest are directions,
    # offsets and temperatures.
    matrices = [layer.weight for layer in head.modules() if isinstance(layer, nn.Linear)]
    named = {id(matrix) for matrix in matrices}
    others = [parameter for parameter in head.parameters() if id(parameter) not in named]
    return [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((matrices, weight_decay), (others, 0.0))
        if parameters
    ]


def fitted(module: nn.Module) -> Fitted:
    """A trained module, features [B, D] to logits [B, C], as a contest knows it."""
    parameters = list(module.parameters())
    place = parameters[0].device
    return Fitted(
        sum(parameter.numel() for parameter in parameters),
        lambda split: predictions(module, split.to(place)),
    )


@torch.no_grad()
def predictions(module: nn.Module, split: Split) -> np.ndarray:
    """Class with the largest logit, [N] int64.

    Args:
        module: on the split's device.
        split: rows.

    Returns:
        Predicted classes on the CPU.
    """
    module.eval()
    best: list[Tensor] = [module(rows).argmax(1) for rows in split.features.split(_ROWS)]
    return torch.cat(best).cpu().numpy()


def rival_methods(config: TrainConfig, device: str | torch.device = "cpu") -> list[Method]:
    """The rival heads, each with the learning rates to choose from.

    Args:
        config: for the epochs, batches, smoothing, scales, k and all else but rate and seed.
        device: where to train.

    Returns:
        Cosine classifier, MLP head and SoftTriple.
    """
    place = pick_device(device)

    def method(name: str, rival: Rival) -> Method:
        rates = {f"learning rate {rate:g}": rate for rate in rival.rates}

        def fit(
            features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
        ) -> Fitted:
            own = replace(config, lr=rates[setting], seed=seed)
            return fitted(train_head(rival.build, features.to(place), own, on_epoch))

        return Method(name, fit, tuple(rates), random=True, epochs=config.epochs, device=str(place))

    return [method(name, rival) for name, rival in RIVALS.items()]
