"""A training run on disk, to go on from: safetensors and JSON, nothing pickled."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.files import canonical_json
from geobasin.tensors import read_tensors, save_tensors
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
    save_tensors(path, tensors, {"training": canonical_json(document)})


def load_checkpoint(training: Training, path: Path) -> None:
    """Put a freshly started run where the checkpoint was taken.

    Args:
        training: just started, with the same features and configuration.
        path: what :func:`save_checkpoint` wrote.

    Raises:
        GeoBasinError: unreadable, or of another run.
    """
    tensors, metadata = read_tensors(path)
    try:
        document = json.loads(metadata["training"])
    except (KeyError, ValueError) as error:
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
