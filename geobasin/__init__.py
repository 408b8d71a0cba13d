"""GeoBasin: geometric basins and coherent optimisers, exactly defined and honestly tested."""

from geobasin.cantor import CantorStaircase, cantor_function
from geobasin.checkpoint import load_weights
from geobasin.config import TrainConfig
from geobasin.dclr import DCLR
from geobasin.energy import EnergyMeter
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.features import load_features
from geobasin.loss import BasinLoss
from geobasin.model import GeoFractalDavid
from geobasin.orbital import OrbitalCoupler
from geobasin.runs import Run, load_run, train_run
from geobasin.train import evaluate, fit

__version__ = "0.1.0"

__all__ = [
    "DCLR",
    "BasinLoss",
    "CantorStaircase",
    "EnergyMeter",
    "FeatureSet",
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
