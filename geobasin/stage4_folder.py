"""A run's folder: what is in it, whether it is free or can be gone on with, and its summary."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geobasin.distributed import Group
from geobasin.energy import EnergyMeter
from geobasin.errors import GeoBasinError
from geobasin.files import canonical_json, clear_partial, read_json, write_json
from geobasin.images import ImageSets
from geobasin.machine import hardware, versions
from geobasin.seal import MANIFEST, require_verified, seal
from geobasin.stage4_checkpoint import Checkpoints, require_same
from geobasin.stage4_config import StageConfig
from geobasin.stage4_model import NAME, has_bfloat16
from geobasin.stage4_objective import describe_head
from geobasin.stage4_progress import Progress
from geobasin.telemetry import StepRecord, TelemetryLog, read_header, read_log
from geobasin.tensors import content_digest, save_tensors

LOG = "stage4_vit_tiny.jsonl"
CONFIG = "config.json"
SUMMARY = "summary.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class StageRun:
    """A sealed run, read back.

    Attributes:
        header: of the log: config, images, versions, hardware, energy source, definitions.
        records: a line each, in the order of the steps.
        summary: the run as a whole.
    """

    header: dict[str, Any]
    records: list[StepRecord]
    summary: dict[str, Any]


def load_stage(directory: Path) -> StageRun:
    """Read a run back, once its seal has been verified.

    Args:
        directory: what :func:`geobasin.stage4.run_stage` left.

    Returns:
        The run.

    Raises:
        GeoBasinError: the folder is not as it was sealed, or is no run of the stage.
    """
    require_verified(directory)
    header, records = read_log(directory / LOG)
    return StageRun(header, records, read_json(directory / SUMMARY))


def require_free(out: Path) -> None:
    """Refuse a folder in which there is something already.

    Raises:
        GeoBasinError: it holds a log, which is never written over, or anything else.
    """
    if (out / LOG).exists():
        raise GeoBasinError(
            f"{out / LOG} exists already; choose another --out or move it away, "
            "or go on with an interrupted run by --resume"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GeoBasinError(f"{out} is in use; choose another --out, a new or an empty folder")


def require_unfinished(out: Path) -> None:
    """Refuse to go on with a run that has ended, or with none.

    Raises:
        GeoBasinError: there is no log, or the folder is sealed.
    """
    if not (out / LOG).is_file():
        raise GeoBasinError(f"no run to go on with in {out}; leave --resume out to begin one")
    if (out / MANIFEST).exists():
        raise GeoBasinError(f"{out} is finished and sealed; there is nothing to go on with")


def open_log(
    checkpoints: Checkpoints, config: StageConfig, header: Mapping[str, Any], resume: bool
) -> tuple[TelemetryLog, int]:
    """Begin a run's log, or cut an interrupted run's back to its newest checkpoint.

    Args:
        checkpoints: those of the run's folder.
        config: the settings.
        header: of the log.
        resume: go on with the log that is there; what a killed process left is removed.

    Returns:
        The log, and the step to go on from, 0 at the beginning.

    Raises:
        GeoBasinError: the log is of other settings or images, is damaged, or lacks lines that the
            checkpoint has seen written; or a refused write.
    """
    path = checkpoints.folder / LOG
    if not resume:
        return TelemetryLog.create(path, header), 0
    require_same(read_header(path), header, path)
    clear_partial(checkpoints.folder)
    step = max(checkpoints.steps(), default=0)
    log = TelemetryLog.resume(path, step)
    last = next((told for told in range(step, 0, -1) if config.told(told)), 0)
    if log.last_step != last:
        log.close()
        raise GeoBasinError(
            f"{path} ends with step {log.last_step}, but {checkpoints.path(step)} follows step "
            f"{last}; start a new run"
        )
    return log, step


def write_end(
    out: Path,
    checkpoints: Checkpoints,
    model: nn.Module,
    header: Mapping[str, Any],
    progress: Progress,
    keep_weights: bool = True,
) -> None:
    """Write all that a run leaves besides its log, its summary last.

    The weights of a run that a fault ended are not kept; its last good checkpoint is.

    Args:
        out: the run's folder.
        checkpoints: those in it.
        model: its weights.
        header: of the log.
        progress: at the end.
        keep_weights: write the weights themselves, beside their digest in the summary.

    Raises:
        GeoBasinError: a refused write, or a damaged log.
    """
    weights = None
    if not progress.stopped:
        state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
        weights = content_digest(state)
        if keep_weights:
            config = canonical_json(header["config"])
            save_tensors(out / WEIGHTS, state, {"model": NAME, "config": config})
    write_json(out / CONFIG, header["config"])
    good = max(checkpoints.steps(), default=None) if progress.stopped else None
    kept = None if good is None else checkpoints.path(good).name
    summary = _summary(header, progress, read_log(out / LOG)[1])
    write_json(out / SUMMARY, {**summary, "weights_sha512": weights, "checkpoint": kept})


def close_folder(out: Path, checkpoints: Checkpoints) -> None:
    """Seal a folder that holds its summary; the checkpoints of a run without fault go.

    Args:
        out: the run's folder.
        checkpoints: those in it.

    Raises:
        GeoBasinError: a fault had ended the run, which is told once the seal is there; the summary
            is damaged, or a write refused.
    """
    summary = read_json(out / SUMMARY)
    if not isinstance(summary, dict):
        raise GeoBasinError(f"{out / SUMMARY} is no summary; remove it to go on with the run")
    fault, kept = summary.get("stopped"), summary.get("checkpoint")
    if fault is None:
        checkpoints.clear()
    clear_partial(out)
    seal(out)
    if fault is not None:
        good = f"its last good checkpoint is {kept}" if kept else "no checkpoint was due before"
        raise GeoBasinError(f"{fault}; {out} is sealed up to there; {good}; try a lower --lr")


def describe(
    config: StageConfig,
    sets: ImageSets,
    model: nn.Module,
    device: torch.device,
    meter: EnergyMeter,
    group: Group,
) -> dict[str, Any]:
    """Give the header of a run's log: all that its numbers depend on."""
    chosen = {} if sets.class_slice is None else {"class_slice": sets.class_slice}
    return {
        "stage": "stage4",
        "config": config.as_dict(),
        "images": {
            "source": sets.source,
            **chosen,
            "classes": len(sets.class_names),
            "train": len(sets.train),
            "val": len(sets.val),
            "listing_sha512": sets.listing_sha512,
        },
        "model": {
            "name": NAME,
            "parameters": sum(p.numel() for p in model.parameters()),
            **describe_head(model),
        },
        "precision": "bfloat16 autocast" if has_bfloat16(device) else "float32",
        "processes": group.size,
        "versions": versions(),
        "hardware": hardware(device),
        "energy": meter.describe(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _summary(
    header: Mapping[str, Any], progress: Progress, records: list[StepRecord]
) -> dict[str, Any]:
    config, energy = header["config"], progress.energy
    joules = None if energy is None else energy.joules
    tail = records[-max(1, len(records) // 10) :]
    at_end = progress.last if (progress.last or {}).get("step") == progress.steps else None
    reached = progress.reached or dict.fromkeys(("steps", "seconds", "joules"))
    return {
        "mode": config["mode"],
        "optimizer": config["optimizer"],
        "seed": config["seed"],
        "steps": progress.steps,
        "stopped": progress.stopped,
        "seconds": progress.seconds,
        "training_seconds": progress.training_seconds,
        "telemetry_seconds": progress.telemetry_seconds,
        "loss_last_tenth": _mean(r.loss for r in tail),
        "acc_last_tenth": _mean(r.acc for r in tail),
        "val_loss": at_end and at_end["loss"],
        "val_acc": at_end and at_end["acc"],
        "val_images": header["images"]["val"],
        "best_validation": progress.best,
        "target": config["until_target"],
        "steps_to_target": reached["steps"],
        "seconds_to_target": reached["seconds"],
        "joules_to_target": reached["joules"],
        "mean": {
            name: _mean(getattr(r, name) for r in records)
            for name in ("drift", "coh", "flux", "E_ret")
        },
        "J_step": None if joules is None else joules / progress.steps,
        "dT": None if energy is None else energy.warming,
        "energy": None if energy is None else asdict(energy),
        "resumed": progress.resumed,
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
