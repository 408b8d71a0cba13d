"""A training run on disk, to go on from: safetensors and JSON, nothing pickled."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.files import atomic_path, canonical_json
from geobasin.train import EpochRecord, Training


def save_checkpoint(training: Training, path: Path) -> None:
    """Write weights, optimiser, schedule and history, atomically.

    The order of the rows is drawn from the seed and the epoch, so no random state is needed.

    Args:
        training: between two epochs.
        path: the file.
    """
    optimizer = training.optimizer.state_dict()
    tensors = {f"model.{name}": value for name, value in training.model.state_dict().items()}
    scalars: dict[str, Any] = {}
    for index, state in optimizer["state"].items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars[f"{index}.{name}"] = value
    schedule = training.schedule.state_dict()
    document = {
        "config": training.config.as_dict(),
        "groups": optimizer["param_groups"],
        "scalars": scalars,
        "schedule": {key: value for key, value in schedule.items() if key != "lr_lambdas"},
        "history": [record.as_dict() for record in training.history],
    }
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata={"training": canonical_json(document)})


def load_checkpoint(training: Training, path: Path) -> None:
    """Put a freshly started run where the checkpoint was taken.

    Args:
        training: just started, with the same features and configuration.
        path: what :func:`save_checkpoint` wrote.

    Raises:
        GeoBasinError: unreadable, or of another run.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            document = json.loads((opened.metadata() or {})["training"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise GeoBasinError(f"cannot resume from {path}: {error}; start a new run") from error
    if document["config"] != training.config.as_dict():
        raise GeoBasinError(f"{path} belongs to a run with other settings; start a new run")
    model = {
        name.removeprefix("model."): value
        for name, value in tensors.items()
        if name.startswith("model.")
    }
    training.model.load_state_dict(model)
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".", 2)
            state.setdefault(int(index), {})[field] = value
    for name, value in document["scalars"].items():
        index, field = name.split(".", 1)
        state.setdefault(int(index), {})[field] = value
    training.optimizer.load_state_dict({"state": state, "param_groups": document["groups"]})
    lambdas = training.schedule.state_dict()["lr_lambdas"]
    training.schedule.load_state_dict(document["schedule"] | {"lr_lambdas": lambdas})
    training.history[:] = [EpochRecord.from_dict(record) for record in document["history"]]


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file.

    Args:
        path: the file.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        GeoBasinError: no such file, or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise GeoBasinError(
            f"cannot read {path} as safetensors: {error}; check the path"
        ) from error


def save_weights(model: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write a model's state dict as safetensors, atomically.

    Args:
        model: any module.
        path: the file.
        metadata: strings for the file's header.
    """
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
