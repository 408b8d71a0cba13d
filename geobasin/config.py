"""Every setting of a training run, with defaults meant for any frozen features."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.head import COMPONENTS, Simplices
from geobasin.loss import BasinLoss
from geobasin.model import GeoFractalDavid

Precision = Literal["float32", "bfloat16"]
# Sizes from here on are slips of the hand, and torch fails on them in many ways.
_LARGEST = 2**31


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run, besides the features.

    Attributes:
        simplices: ``"rigid"`` or ``"free"``.
        k: dimension of a class's simplex.
        scales: dimensions of the heads.
        alpha_init: start of the staircase's middle height.
        tau: temperature of the ternary digits.
        levels: depth of the staircase.
        reach: how far a feature moves along the Cantor line.
        components: those of feature, cantor and crystal that take part.
        epochs: passes over the training rows, at least 1.
        batch: rows in a step, at least 1.
        lr: learning rate of the heads; the fusion weights take half, the Cantor stairs a tenth.
        weight_decay: decoupled decay of the projections' matrices.
        gradient_clip: largest norm of the whole gradient; 0 for no clipping.
        schedule: ``"cosine"`` to zero or ``"constant"``, after the warm-up.
        warmup: share of the steps in which the rate rises from zero, 0 to 1.
        optimizer: ``"adamw"`` or ``"dclr"``.
        temperature: of the contrastive loss.
        label_smoothing: of the contrastive loss.
        scale_weight: weight of the per-scale contrastive term.
        coherence_weight: weight of the coherence term.
        separation_weight: weight of the separation term.
        discretisation_weight: weight of the discretisation term.
        seed: of the initial weights and the order of the rows.
        precision: of the products with matrices in a training step; sums, the Cantor line, the
            loss and the weights stay in float32, and so does the evaluation. ``"bfloat16"`` pays
            on a GPU.
        compile: let ``torch.compile`` join the operations of a step. It takes a minute or so at
            the start, and pays on a GPU with a C++ compiler at hand.
    """

    simplices: Simplices = "rigid"
    k: int = 12
    scales: tuple[int, ...] = (128, 256, 384)
    alpha_init: float = 0.5
    tau: float = 0.25
    levels: int = 4
    reach: float = 0.5
    components: tuple[str, ...] = COMPONENTS
    epochs: int = 20
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.05
    optimizer: Literal["adamw", "dclr"] = "adamw"
    temperature: float = 0.1
    label_smoothing: float = 0.1
    scale_weight: float = 1.0
    coherence_weight: float = 1.0
    separation_weight: float = 0.3
    discretisation_weight: float = 0.0
    seed: int = 0
    precision: Precision = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if not 1 <= getattr(self, name) < _LARGEST:
                raise GeoBasinError(f"{name} must lie in [1, 2^31), not {getattr(self, name)}")
        for scale in self.scales:
            if not 1 <= scale < _LARGEST:
                raise GeoBasinError(f"scales must lie in [1, 2^31), not {scale}")
        if self.k < 1:
            raise GeoBasinError(f"k must be at least 1, not {self.k}")
        if not 0 <= self.seed < 2**32:
            raise GeoBasinError(f"seed must lie in [0, 2^32), not {self.seed}")
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise GeoBasinError(f"{name} must be a finite number, not {value}")
        if self.lr <= 0:
            raise GeoBasinError(f"lr must be above 0, not {self.lr}")
        if not 0 <= self.warmup <= 1:
            raise GeoBasinError(f"warmup is a share of the steps, in [0, 1], not {self.warmup}")
        if self.schedule not in ("cosine", "constant"):
            raise GeoBasinError(f"schedule must be 'cosine' or 'constant', not '{self.schedule}'")
        if self.optimizer not in ("adamw", "dclr"):
            raise GeoBasinError(f"optimizer must be 'adamw' or 'dclr', not '{self.optimizer}'")
        if self.precision not in ("float32", "bfloat16"):
            raise GeoBasinError(
                f"precision must be 'float32' or 'bfloat16', not '{self.precision}'"
            )

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        lists = {"scales": list(self.scales), "components": list(self.components)}
        return asdict(self) | lists

    def build_model(self, features: FeatureSet) -> GeoFractalDavid:
        """A model for these features with this configuration's geometry, not yet initialised."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return GeoFractalDavid(
                feature_dim=features.feature_dim,
                num_classes=features.num_classes,
                k=self.k,
                scales=self.scales,
                alpha_init=self.alpha_init,
                tau=self.tau,
                simplices=self.simplices,
                levels=self.levels,
                reach=self.reach,
                components=self.components,
            )

    def build_loss(self) -> BasinLoss:
        """The loss with this configuration's temperature and weights."""
        return BasinLoss(
            temperature=self.temperature,
            label_smoothing=self.label_smoothing,
            scale_weight=self.scale_weight,
            coherence_weight=self.coherence_weight,
            separation_weight=self.separation_weight,
            discretisation_weight=self.discretisation_weight,
        )
