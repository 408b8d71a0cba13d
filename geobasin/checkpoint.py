"""A training run on disk, to go on from: safetensors and JSON, nothing pickled."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.files import canonical_json
from geobasin.optimizer_state import pack_optimizer, unpack_optimizer
from geobasin.tensors import content_digest, read_tensors, save_tensors
from geobasin.train import EpochRecord, Training


def save_checkpoint(training: Training, path: Path) -> None:
    """Write weights, optimiser, schedule and history, and their digest, atomically.

    The order of the rows is drawn from the seed and the epoch, so no random state is needed.

    Args:
        training: between two epochs.
        path: the file.

    Raises:
        GeoBasinError: the file system refuses the write; the older checkpoint is left as it was.
    """
    tensors, rest = pack_optimizer(training.optimizer)
    tensors |= {f"model.{name}": value for name, value in training.model.state_dict().items()}
    tensors = {name: value.detach().cpu() for name, value in tensors.items()}
    schedule = training.schedule.state_dict()
    document = {
        "config": training.config.as_dict(),
        "optimizer": rest,
        "schedule": {key: value for key, value in schedule.items() if key != "lr_lambdas"},
        "history": [record.as_dict() for record in training.history],
    }
    text = canonical_json(document)
    save_tensors(path, tensors, {"training": text, "sha512": content_digest(tensors, text)})


def load_checkpoint(training: Training, path: Path) -> None:
    """Put a freshly started run where the checkpoint was taken.

    Args:
        training: just started, with the same features and configuration.
        path: what :func:`save_checkpoint` wrote.

    Raises:
        GeoBasinError: unreadable, altered since it was written, or of another run.
    """
    tensors, metadata = read_tensors(path)
    text = metadata.get("training", "")
    if metadata.get("sha512") != content_digest(tensors, text):
        raise GeoBasinError(f"{path} is not as it was written; start a new run")
    try:
        _restore(training, tensors, json.loads(text), path)
    except GeoBasinError:
        raise
    # Torch tells of tensors that do not fit in many ways.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise GeoBasinError(f"cannot resume from {path}: {error!r}; start a new run") from error


def _restore(
    training: Training, tensors: dict[str, Tensor], document: dict[str, Any], path: Path
) -> None:
    if document["config"] != training.config.as_dict():
        raise GeoBasinError(f"{path} belongs to a run with other settings; start a new run")
    model = {
        name.removeprefix("model."): value
        for name, value in tensors.items()
        if name.startswith("model.")
    }
    training.model.load_state_dict(model)
    unpack_optimizer(training.optimizer, tensors, document["optimizer"])
    lambdas = training.schedule.state_dict()["lr_lambdas"]
    training.schedule.load_state_dict(document["schedule"] | {"lr_lambdas": lambdas})
    training.history[:] = [EpochRecord.from_dict(record) for record in document["history"]]
