"""A training run's folder, in the published layout: train into it, resume it, load it."""

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import torch

from geobasin.checkpoint import load_checkpoint, save_checkpoint
from geobasin.config import TrainConfig
from geobasin.distributed import Group
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.event_log import event_log, log_epoch
from geobasin.feature_set import FeatureSet
from geobasin.files import canonical_json, clear_partial, read_json, write_json
from geobasin.machine import hardware, versions
from geobasin.model import GeoFractalDavid
from geobasin.seal import MANIFEST
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
    group: Group | None = None,
) -> Path:
    """Train into a run folder; each epoch leaves a checkpoint, so that Ctrl-C loses one at most.

    Args:
        features: to learn from.
        config: the settings.
        out: where ``weights/`` and ``runs/`` are.
        source: how the features were named by the user.
        device: where to train.
        resume: go on with the newest unsealed run of the same settings and features.
        progress: show a bar on stderr.
        on_epoch: called with the folder and the epoch's number once its checkpoint is written.
        group: the processes that train together, all calling this; the first one alone writes,
            and all read from the same folder on resuming.

    Returns:
        ``out/weights/<model>/<run_id>``.

    Raises:
        GeoBasinError: nothing to resume, a loss that is not finite, or a refused write; the last
            good checkpoint is named.
    """
    group = group or Group()
    name = f"GeoFractalDavid-Basin-k{config.k}"
    training = Training.start(features, config, device, group)
    place = training.model.fusion_weights.device
    description = _describe(features, config, source, name, place)
    if resume:
        with group.together():
            folder = _interrupted(out / "weights" / name, description)
            unfinished = (folder / CHECKPOINT).exists()
            if unfinished:
                load_checkpoint(training, folder / CHECKPOINT)
        if group.is_main:
            clear_partial(folder)
        if not unfinished:
            return folder
    else:
        folder = _new_folder(out / "weights" / name, features, config, group)
        with group.together():
            if group.is_main:
                write_json(folder / CONFIG, description)
    try:
        _train_to_the_end(training, folder, out / "runs" / name / folder.name, progress, on_epoch)
    except GeoBasinError as error:
        kept = folder / CHECKPOINT
        last = f"the last good checkpoint is {kept}" if kept.exists() else "no epoch was finished"
        raise GeoBasinError(f"{error}; {last}") from error
    if group.is_main:
        (folder / CHECKPOINT).unlink()
    return folder


def _train_to_the_end(
    training: Training,
    folder: Path,
    events: Path,
    progress: bool,
    on_epoch: Callable[[Path, int], object] | None,
) -> None:
    group = training.group
    best = max((record.val.accuracy for record in training.history), default=-1.0)
    with ExitStack() as stack:
        board = None
        with group.together():
            if group.is_main:
                board = stack.enter_context(event_log(events, len(training.history) + 1))
        for record in training.remaining(progress and group.is_main):
            test = None
            if record.val.accuracy > best and training.features.test is not None:
                test = evaluate(training.model, training.features.test, group).accuracy
            with group.together():
                if board is not None:
                    log_epoch(board, record)
                    if record.val.accuracy > best:
                        _save_best(training, folder, test)
                    write_json(folder / HISTORY, [entry.as_dict() for entry in training.history])
                    save_checkpoint(training, folder / CHECKPOINT)
                    if on_epoch is not None:
                        on_epoch(folder, record.epoch)
            best = max(best, record.val.accuracy)


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
    history = read_json(folder / HISTORY)
    try:
        model = GeoFractalDavid(**metadata["settings"])
        model.load_state_dict(load_weights(weights))
        history = [EpochRecord.from_dict(record) for record in history]
    except GeoBasinError:
        raise
    # Torch and Python tell in many ways of settings that are none, and of tensors that do not fit.
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise GeoBasinError(f"{folder} is not a complete run: {error!r}; train it again") from error
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


def _new_folder(parent: Path, features: FeatureSet, config: TrainConfig, group: Group) -> Path:
    """Make a run's folder in the first process, and tell the others which it is."""
    seconds, number = int(time.time()), 0
    with group.together():
        if group.is_main:
            number = _first_free(parent, _stem(seconds, features, config))
    seconds, number = map(int, group.gather([seconds, number])[0])
    return parent / _numbered(_stem(seconds, features, config), number)


def _stem(seconds: int, features: FeatureSet, config: TrainConfig) -> str:
    stamp = datetime.fromtimestamp(seconds).strftime("%Y%m%d-%H%M%S")
    # Features may have any name, and that of a folder must not lead elsewhere.
    label = re.sub(r"[^\w.-]+", "-", features.name)[:80]
    return f"{stamp}-{label}-{config.simplices}-seed{config.seed}"


def _first_free(parent: Path, stem: str) -> int:
    for number in count(1):
        folder = parent / _numbered(stem, number)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise GeoBasinError(f"cannot make {folder}: {error.strerror}") from error
        return number
    raise AssertionError("counting has no end")


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _interrupted(parent: Path, description: dict[str, Any]) -> Path:
    """The newest run of these settings that ended before its seal."""
    for described in sorted(parent.glob(f"*/{CONFIG}"), reverse=True):
        folder = described.parent
        if (folder / MANIFEST).exists():
            continue
        stored = read_json(described)
        if not isinstance(stored, dict):
            raise GeoBasinError(f"{described} holds no settings; remove {folder}")
        alike = all(stored.get(part) == description[part] for part in ("features", "train"))
        if alike and ((folder / CHECKPOINT).exists() or _has_all_epochs(folder, description)):
            return folder
    raise GeoBasinError(
        f"no interrupted run of these settings and features under {parent}; leave --resume out"
    )


def _has_all_epochs(folder: Path, description: dict[str, Any]) -> bool:
    """Whether a run without a checkpoint lacks no more than its figures, its card and its seal."""
    if not (folder / HISTORY).exists():
        return False
    history = read_json(folder / HISTORY)
    return isinstance(history, list) and len(history) == description["train"]["epochs"]


def _save_best(training: Training, folder: Path, test_accuracy: float | None) -> None:
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
        "class_names": list(training.features.class_names),
    }
    if test_accuracy is not None:
        metadata["test_accuracy"] = test_accuracy
    stem = f"best_model_acc{100 * record.val.accuracy:.2f}"
    outdated = [path for path in folder.glob("best_model_acc*") if not path.name.startswith(stem)]
    weights = folder / f"{stem}.safetensors"
    save_tensors(weights, model.state_dict(), {"settings": canonical_json(model.settings)})
    write_json(folder / f"{stem}_metadata.json", metadata)
    for path in outdated:
        path.unlink()
