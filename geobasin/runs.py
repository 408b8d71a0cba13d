"""A training run's folder, in the published layout: train into it, resume it, load it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from geobasin.checkpoint import load_checkpoint, save_checkpoint
from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.feature_set import FeatureSet
from geobasin.files import canonical_json, read_json, write_json
from geobasin.machine import hardware, versions
from geobasin.model import GeoFractalDavid
from geobasin.tensors import load_weights, save_tensors
from geobasin.train import EpochRecord, Training

CHECKPOINT = "checkpoint.safetensors"
CONFIG = "train_config.json"
HISTORY = "training_history.json"


@dataclass(frozen=True)
class Run:
    """A finished run, read back from its folder.

    Attributes:
        folder: ``.../weights/<model>/<run_id>``.
        model: the best model, in evaluation mode.
        metadata: what ``best_model_acc*_metadata.json`` holds.
        config: what ``train_config.json`` holds.
        history: a record for every epoch.
    """

    folder: Path
    model: GeoFractalDavid
    metadata: dict[str, Any]
    config: dict[str, Any]
    history: list[EpochRecord]


def train_run(
    features: FeatureSet,
    config: TrainConfig,
    out: Path,
    source: str,
    device: str = "cpu",
    resume: bool = False,
    progress: bool = False,
    on_epoch: Callable[[Path, int], object] | None = None,
) -> Path:
    """Train into a run folder; each epoch leaves a checkpoint, so that Ctrl-C loses one at most.

    Args:
        features: to learn from.
        config: the settings.
        out: where ``weights/`` and ``runs/`` are.
        source: how the features were named by the user.
        device: where to train.
        resume: go on with the newest interrupted run of the same settings and features.
        progress: show a bar on stderr.
        on_epoch: called with the folder and the epoch's number once its checkpoint is written.

    Returns:
        ``out/weights/<model>/<run_id>``.

    Raises:
        GeoBasinError: nothing to resume, a loss that is not finite, or a refused write.
    """
    name = f"GeoFractalDavid-Basin-k{config.k}"
    training = Training.start(features, config, device)
    place = training.model.fusion_weights.device
    description = _describe(features, config, source, name, place)
    if resume:
        folder = _interrupted(out / "weights" / name, description)
        load_checkpoint(training, folder / CHECKPOINT)
    else:
        folder = _new_folder(out / "weights" / name, features, config)
        write_json(folder / CONFIG, description)
    events = out / "runs" / name / folder.name
    best = max((record.val.accuracy for record in training.history), default=-1.0)
    with SummaryWriter(str(events), purge_step=len(training.history) + 1) as board:
        for record in training.remaining(progress):
            _require_finite(record, folder)
            _log(board, record)
            if record.val.accuracy > best:
                best = record.val.accuracy
                _save_best(training, folder, features.class_names)
            write_json(folder / HISTORY, [entry.as_dict() for entry in training.history])
            save_checkpoint(training, folder / CHECKPOINT)
            if on_epoch is not None:
                on_epoch(folder, record.epoch)
    (folder / CHECKPOINT).unlink()
    return folder


def load_run(folder: Path) -> Run:
    """Read a run's best model and its records.

    Args:
        folder: ``.../weights/<model>/<run_id>``.

    Returns:
        The run, its model on the CPU.

    Raises:
        GeoBasinError: not a run's folder, or a file in it is unreadable.
    """
    found = sorted(folder.glob("best_model_acc*_metadata.json"))
    if len(found) != 1:
        raise GeoBasinError(
            f"{folder} holds {len(found)} best_model_acc*_metadata.json; name a run's folder, "
            "as 'python -m geobasin train' prints it"
        )
    metadata = read_json(found[0])
    weights = found[0].with_name(found[0].name.replace("_metadata.json", ".safetensors"))
    try:
        model = GeoFractalDavid(**metadata["settings"])
        history = [EpochRecord.from_dict(record) for record in read_json(folder / HISTORY)]
    except (KeyError, TypeError) as error:
        raise GeoBasinError(f"{folder} is not a complete run: {error}; train it again") from error
    model.load_state_dict(load_weights(weights))
    model.eval()
    return Run(folder, model, metadata, read_json(folder / CONFIG), history)


def _describe(
    features: FeatureSet, config: TrainConfig, source: str, name: str, device: torch.device
) -> dict[str, Any]:
    return {
        "model": name,
        "features": features.describe(source),
        "train": config.as_dict(),
        "versions": versions(),
        "hardware": hardware(device),
    }


def _new_folder(parent: Path, features: FeatureSet, config: TrainConfig) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    stem = f"{stamp}-{features.name}-{config.simplices}-seed{config.seed}"
    for name in _numbered(stem):
        try:
            (parent / name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise GeoBasinError(f"cannot make {parent / name}: {error.strerror}") from error
        return parent / name
    raise AssertionError("the numbering has no end")


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    count = 2
    while True:
        yield f"{stem}-{count}"
        count += 1


def _interrupted(parent: Path, description: dict[str, Any]) -> Path:
    for checkpoint in sorted(parent.glob(f"*/{CHECKPOINT}"), reverse=True):
        stored = read_json(checkpoint.parent / CONFIG)
        if all(stored.get(part) == description[part] for part in ("features", "train")):
            return checkpoint.parent
    raise GeoBasinError(
        f"no interrupted run of these settings and features under {parent}; leave --resume out"
    )


def _require_finite(record: EpochRecord, folder: Path) -> None:
    total = record.terms["total"]
    if total != total or total in (float("inf"), float("-inf")):
        raise GeoBasinError(
            f"the loss is {total} in epoch {record.epoch}; lower --lr; "
            f"{folder} keeps what came before"
        )


def _log(board: SummaryWriter, record: EpochRecord) -> None:
    for name, value in record.terms.items():
        board.add_scalar(f"loss/{name}", value, record.epoch)
    board.add_scalar("accuracy/val", record.val.accuracy, record.epoch)
    for scale, accuracy in record.val.scale_accuracy.items():
        board.add_scalar(f"accuracy/val_scale_{scale}", accuracy, record.epoch)
    board.add_scalar("cantor/alpha", record.alpha, record.epoch)
    for scale, weights in record.geometric_weights.items():
        for component, weight in weights.items():
            board.add_scalar(f"weights/scale_{scale}_{component}", weight, record.epoch)
    board.add_scalar("lr", record.lr, record.epoch)


def _save_best(training: Training, folder: Path, class_names: tuple[str, ...]) -> None:
    record = training.history[-1]
    model = training.model
    metadata: dict[str, Any] = {
        "epoch": record.epoch,
        "val_accuracy": record.val.accuracy,
        "scale_accuracy": record.as_dict()["val"]["scale_accuracy"],
        "alpha": {"initial": training.config.alpha_init, "final": record.alpha},
        "geometric_weights": record.as_dict()["geometric_weights"],
        "temperature": training.config.temperature,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": sum(entry.seconds for entry in training.history),
        "settings": model.settings,
        "class_names": list(class_names),
    }
    if training.features.test is not None:
        metadata["test_accuracy"] = evaluate(model, training.features.test).accuracy
    stem = f"best_model_acc{100 * record.val.accuracy:.2f}"
    outdated = [path for path in folder.glob("best_model_acc*") if not path.name.startswith(stem)]
    weights = folder / f"{stem}.safetensors"
    save_tensors(weights, model.state_dict(), {"settings": canonical_json(model.settings)})
    write_json(folder / f"{stem}_metadata.json", metadata)
    for path in outdated:
        path.unlink()
