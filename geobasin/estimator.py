"""GeoFractalDavid as a scikit-learn classifier, for pipelines, cross-validation and grid search."""

from dataclasses import fields
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from geobasin.config import TrainConfig
from geobasin.feature_set import FeatureSet, Split
from geobasin.head import COMPONENTS
from geobasin.train import Training


class GeoBasinClassifier(ClassifierMixin, BaseEstimator):
    """A GeoFractalDavid head that fits and predicts as scikit-learn's classifiers do.

    All rows given to :meth:`fit` are trained on, for a fixed number of epochs; nothing is held
    out, so choose the settings by cross-validation. Every row counts once an epoch: :meth:`fit`
    takes no sample weights, :meth:`score` does. The settings are those of
    :class:`geobasin.TrainConfig`, with ``random_state`` for its seed.

    Args:
        simplices: ``"rigid"`` or ``"free"``.
        k: dimension of a class's simplex.
        scales: dimensions of the heads.
        alpha_init: start of the staircase's middle height.
        tau: temperature of the ternary digits.
        levels: depth of the staircase.
        reach: how far a feature moves along the Cantor line.
        components: those of feature, cantor and crystal that take part.
        epochs: passes over the rows.
        batch: rows in a step.
        lr: learning rate.
        weight_decay: decoupled decay of the projections' matrices.
        gradient_clip: largest norm of the gradient; 0 for no clipping.
        schedule: ``"cosine"`` or ``"constant"``.
        warmup: share of the steps in which the rate rises.
        optimizer: ``"adamw"`` or ``"dclr"``.
        temperature: of the loss and of :meth:`predict_proba`.
        label_smoothing: of the loss.
        scale_weight: weight of the per-scale contrastive term.
        coherence_weight: weight of the coherence term.
        separation_weight: weight of the separation term.
        discretisation_weight: weight of the discretisation term.
        precision: of the products with matrices, ``"float32"`` or ``"bfloat16"``.
        compile: let ``torch.compile`` join the operations of a step.
        random_state: seed, generator or None for another result each time.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.

    Attributes:
        classes_: labels, [C].
        model_: the trained :class:`geobasin.GeoFractalDavid`.
        n_features_in_: width D of the features.
        loss_curve_: total loss of each epoch.
    """

    def __init__(
        self,
        simplices: Literal["rigid", "free"] = "rigid",
        k: int = 12,
        scales: tuple[int, ...] = (128, 256, 384),
        alpha_init: float = 0.5,
        tau: float = 0.25,
        levels: int = 4,
        reach: float = 0.5,
        components: tuple[str, ...] = COMPONENTS,
        epochs: int = 20,
        batch: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 0.05,
        gradient_clip: float = 1.0,
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup: float = 0.05,
        optimizer: Literal["adamw", "dclr"] = "adamw",
        temperature: float = 0.1,
        label_smoothing: float = 0.1,
        scale_weight: float = 1.0,
        coherence_weight: float = 1.0,
        separation_weight: float = 0.3,
        discretisation_weight: float = 0.0,
        precision: Literal["float32", "bfloat16"] = "float32",
        compile: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.simplices = simplices
        self.k = k
        self.scales = scales
        self.alpha_init = alpha_init
        self.tau = tau
        self.levels = levels
        self.reach = reach
        self.components = components
        self.epochs = epochs
        self.batch = batch
        self.lr = lr
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.schedule = schedule
        self.warmup = warmup
        self.optimizer = optimizer
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        self.scale_weight = scale_weight
        self.coherence_weight = coherence_weight
        self.separation_weight = separation_weight
        self.discretisation_weight = discretisation_weight
        self.precision = precision
        self.compile = compile
        self.random_state = random_state
        self.device = device

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on every row.

        Args:
            X: features, [N, D], finite.
            y: labels of any kind scikit-learn knows, [N], two classes or more.

        Returns:
            This estimator, fitted.

        Raises:
            ValueError: data or settings that cannot be trained with.
        """
        rows, labels = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("GeoBasinClassifier needs 2 classes or more; the data has 1 class")
        split = Split(torch.from_numpy(rows), torch.from_numpy(codes.astype(np.int64)))
        names = tuple(str(label) for label in self.classes_)
        training = Training.start(
            FeatureSet("rows", split, split, None, names), self._config(), self.device
        )
        self.loss_curve_ = [training.train_epoch()["total"] for _ in range(self.epochs)]
        # In float64 a row's scores do not depend on the rows beside it even in their last digits.
        self.model_ = training.model.double().eval()
        return self

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Compatibilities: [N, C], or for two classes the second's less the first's, [N].

        Args:
            X: features, [N, D].

        Returns:
            Scores; the largest names the class.
        """
        logits = self._logits(X).cpu().numpy()
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Most compatible class of each row: features [N, D] to labels [N]."""
        best = self._logits(X).argmax(1).cpu().numpy()
        return self.classes_[best]

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Softmax of the compatibilities over the temperature.

        Args:
            X: features, [N, D].

        Returns:
            Probabilities, [N, C], rows summing to 1.
        """
        return torch.softmax(self._logits(X) / self.temperature, dim=1).cpu().numpy()

    @torch.no_grad()
    def _logits(self, X: ArrayLike) -> Tensor:
        check_is_fitted(self)
        rows = torch.from_numpy(validate_data(self, X, dtype=np.float64, reset=False))
        place = self.model_.fusion_weights.device
        return torch.cat([self.model_(chunk.to(place)) for chunk in rows.split(4096)])

    def _config(self) -> TrainConfig:
        settings = {
            field.name: getattr(self, field.name)
            for field in fields(TrainConfig)
            if field.name != "seed"
        }
        seed = self.random_state
        if not isinstance(seed, int):
            seed = int(check_random_state(seed).randint(2**31 - 1))
        lists = {"scales": tuple(self.scales), "components": tuple(self.components)}
        return TrainConfig(**settings | lists | {"seed": seed})
