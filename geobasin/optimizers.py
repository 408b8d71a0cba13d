"""Optimisers by name: DCLR, its nearest relatives, torch's own and those of timm."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from geobasin.dclr import DCLR
from geobasin.errors import GeoBasinError
from geobasin.image_folder import optional
from geobasin.rival_optimizers import HGM, AdaTAM

TORCH = ("adam", "adamw", "sgd")
# Nesterov's lead, the cautious mask, and both: AdamW's nearest kin.
TIMM = ("nadamw", "cadamw", "cnadamw")
OURS: dict[str, type[torch.optim.Optimizer]] = {"dclr": DCLR, "hgm": HGM, "adatam": AdaTAM}
NAMES = (*OURS, *TORCH, *TIMM)

SGD_MOMENTUM = 0.9


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    lr: float,
    weight_decay: float = 0.0,
    **options: Any,
) -> torch.optim.Optimizer:
    """Make an optimiser with its authors' defaults for all that is not given.

    Args:
        name: one of :data:`NAMES`.
        parameters: what to optimise.
        lr: learning rate, > 0.
        weight_decay: >= 0; decoupled, except for ``adam`` and ``sgd``, which add it to the
            gradient.
        options: further arguments of that optimiser, as ``betas`` of all but ``sgd``.

    Returns:
        The optimiser.

    Raises:
        GeoBasinError: an unknown name, or timm is needed and not installed.
    """
    parameters = list(parameters)
    common: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, **options}
    if name in OURS:
        return OURS[name](parameters, **common)
    if name == "adam":
        return torch.optim.Adam(parameters, **common)
    if name == "adamw":
        return torch.optim.AdamW(parameters, **common)
    if name == "sgd":
        return torch.optim.SGD(parameters, **{"momentum": SGD_MOMENTUM, **common})
    if name in TIMM:
        made: torch.optim.Optimizer = optional("timm.optim").create_optimizer_v2(
            parameters, opt=name, **common
        )
        return made
    raise GeoBasinError(f"no optimiser {name!r} here; choose one of {', '.join(NAMES)}")
