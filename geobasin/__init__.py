"""GeoBasin: geometric basins and coherent optimisers, exactly defined and honestly tested.

Names load their module when they are first used, so that sealing a folder does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geobasin.cantor import CantorStaircase, cantor_function
    from geobasin.config import TrainConfig
    from geobasin.dclr import DCLR
    from geobasin.energy import EnergyMeter
    from geobasin.errors import GeoBasinError
    from geobasin.estimator import GeoBasinClassifier
    from geobasin.evaluation import evaluate
    from geobasin.feature_set import FeatureSet
    from geobasin.features import load_features
    from geobasin.loss import BasinLoss
    from geobasin.model import GeoFractalDavid
    from geobasin.orbital import OrbitalCoupler
    from geobasin.runs import Run, load_run, train_run
    from geobasin.tensors import load_weights
    from geobasin.train import fit

__version__ = "0.1.0"

_HOMES = {
    "BasinLoss": "loss",
    "CantorStaircase": "cantor",
    "DCLR": "dclr",
    "EnergyMeter": "energy",
    "FeatureSet": "feature_set",
    "GeoBasinClassifier": "estimator",
    "GeoBasinError": "errors",
    "GeoFractalDavid": "model",
    "OrbitalCoupler": "orbital",
    "Run": "runs",
    "TrainConfig": "config",
    "cantor_function": "cantor",
    "evaluate": "evaluation",
    "fit": "train",
    "load_features": "features",
    "load_run": "runs",
    "load_weights": "tensors",
    "train_run": "runs",
}

__all__ = [
    "DCLR",
    "BasinLoss",
    "CantorStaircase",
    "EnergyMeter",
    "FeatureSet",
    "GeoBasinClassifier",
    "GeoBasinError",
    "GeoFractalDavid",
    "OrbitalCoupler",
    "Run",
    "TrainConfig",
    "cantor_function",
    "evaluate",
    "fit",
    "load_features",
    "load_run",
    "load_weights",
    "train_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geobasin' has no attribute '{name}'")
    return getattr(import_module(f"geobasin.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
