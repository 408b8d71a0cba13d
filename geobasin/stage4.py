"""The ViT-Tiny stage: DCLR (RFT) or Adam (BASE) on images, with telemetry, joules and a seal.

Usage: ``python -m geobasin.stage4 --mode RFT --steps 1000 --batch 256 --lr 5e-4``, and the same
with ``--mode BASE``. Weights and the order of the images follow from the seed, so that the two
modes differ in the optimiser alone.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geobasin.energy import EnergyMeter
from geobasin.errors import GeoBasinError
from geobasin.files import read_json, write_json
from geobasin.images import ImageSets, load_images
from geobasin.machine import hardware, pick_device, versions
from geobasin.seal import require_verified, seal
from geobasin.stage4_config import StageConfig, add_arguments, config_from
from geobasin.stage4_loop import Progress, build_vit, has_bfloat16, train
from geobasin.telemetry import StepRecord, TelemetryLog, read_log

__all__ = [
    "StageConfig",
    "StageRun",
    "add_arguments",
    "load_stage",
    "main",
    "run",
    "run_stage",
]

LOG = "stage4_vit_tiny.jsonl"
CONFIG = "config.json"
SUMMARY = "summary.json"


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


def run_stage(
    config: StageConfig,
    out: Path,
    data_dir: Path | None = None,
    device: torch.device | None = None,
    meter: EnergyMeter | None = None,
    *,
    idle_seconds: float = 0.0,
    workers: int = 0,
    quiet: bool = False,
) -> Path:
    """Run the stage and seal what it leaves.

    Args:
        config: the settings.
        out: a folder that is missing or empty.
        data_dir: images as ``train/<class>/<image>`` and ``val/<class>/<image>``; None for fractal
            images.
        device: what computes; None takes CUDA where there is one.
        meter: of that device; None opens the best there is.
        idle_seconds: time to measure the idle power beforehand; 0 leaves it unknown.
        workers: processes that decode images.
        quiet: show no progress bar on stderr.

    Returns:
        ``out``, which holds the log, ``config.json``, ``summary.json`` and ``SHA512SUMS``.

    Raises:
        GeoBasinError: bad images, a folder in use, a device or package that is missing, a file
            system that refuses, or a loss that is not finite; in the last case, and where an image
            fails after the first step, what was logged is kept, summed up and sealed.
    """
    _require_free(out)
    device = device or pick_device("auto")
    sets = load_images(data_dir, config.image_size, config.seed)
    model = build_vit(config.image_size, len(sets.class_names), config.seed).to(device)
    with closing(meter or EnergyMeter(device)) as open_meter:
        if idle_seconds > 0:
            open_meter.measure_idle(idle_seconds)
        header = _header(config, sets, model, device, open_meter)
        progress = Progress()
        made = not out.exists()
        with TelemetryLog.create(out / LOG, header) as log:
            failure: GeoBasinError | None = None
            try:
                train(config, sets, model, open_meter, log, progress, workers, quiet)
            except GeoBasinError as error:
                if progress.steps == 0:
                    log.path.unlink()
                    if made:
                        out.rmdir()
                    raise
                failure = error
                progress.stopped = str(error)
    write_json(out / CONFIG, header["config"])
    write_json(out / SUMMARY, _summary(config, header, progress, read_log(out / LOG)[1]))
    seal(out)
    if failure is not None:
        raise failure
    if progress.stopped:
        raise GeoBasinError(f"{progress.stopped}; {out} is sealed up to there; try a lower --lr")
    return out


def load_stage(directory: Path) -> StageRun:
    """Read a run back, once its seal has been verified.

    Args:
        directory: what :func:`run_stage` left.

    Returns:
        The run.

    Raises:
        GeoBasinError: the folder is not as it was sealed, or is no run of the stage.
    """
    require_verified(directory)
    header, records = read_log(directory / LOG)
    return StageRun(header, records, read_json(directory / SUMMARY))


def run(args: argparse.Namespace) -> Path:
    """Do what the command line asks.

    Args:
        args: from a parser with :func:`add_arguments`.

    Returns:
        The folder of the run.

    Raises:
        GeoBasinError: as for :func:`run_stage`.
    """
    config = config_from(args)
    device = pick_device(args.device)
    return run_stage(
        config,
        args.out or Path("runs") / "stage4" / f"{config.mode}-seed{config.seed}",
        args.data_dir,
        device,
        EnergyMeter(device, assumed_watts=args.assumed_watts),
        idle_seconds=args.idle_seconds,
        workers=args.workers,
        quiet=args.quiet,
    )


def main(argv: list[str] | None = None) -> int:
    """Run the stage as a program.

    Args:
        argv: the options; None takes those of the process.

    Returns:
        0; 2 after one line on stderr about what its reader can fix; 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m geobasin.stage4", description=__doc__)
    add_arguments(parser)
    try:
        out = run(parser.parse_args(argv))
    except GeoBasinError as error:
        print(f"geobasin: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("geobasin: interrupted; the log up to here is kept, without a seal", file=sys.stderr)
        return 130
    print(out)
    return 0


def _require_free(out: Path) -> None:
    if (out / LOG).exists():
        raise GeoBasinError(f"{out / LOG} exists already; choose another --out or move it away")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GeoBasinError(f"{out} is in use; choose another --out, a new or an empty folder")


def _header(
    config: StageConfig,
    sets: ImageSets,
    model: nn.Module,
    device: torch.device,
    meter: EnergyMeter,
) -> dict[str, Any]:
    return {
        "stage": "stage4",
        "config": config.as_dict(),
        "images": {
            "source": sets.source,
            "classes": len(sets.class_names),
            "train": len(sets.train),
            "val": len(sets.val),
        },
        "model": {
            "name": "vit_tiny_patch16_224",
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "precision": "bfloat16 autocast" if has_bfloat16(device) else "float32",
        "versions": versions(),
        "hardware": hardware(device),
        "energy": meter.describe(),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _summary(
    config: StageConfig, header: dict[str, Any], progress: Progress, records: list[StepRecord]
) -> dict[str, Any]:
    energy, validation = progress.energy, progress.validation
    joules = None if energy is None else energy.joules
    tail = records[-max(1, len(records) // 10) :]
    return {
        "mode": config.mode,
        "optimizer": config.optimizer,
        "seed": config.seed,
        "steps": progress.steps,
        "stopped": progress.stopped,
        "seconds": progress.seconds,
        "loss_last_tenth": _mean(r.loss for r in tail),
        "acc_last_tenth": _mean(r.acc for r in tail),
        "val_loss": None if validation is None else validation.loss,
        "val_acc": None if validation is None else validation.acc,
        "val_images": header["images"]["val"],
        "mean": {
            name: _mean(getattr(r, name) for r in records)
            for name in ("drift", "coh", "flux", "E_ret")
        },
        "J_step": None if joules is None else joules / progress.steps,
        "dT": None if energy is None else energy.warming,
        "energy": None if energy is None else asdict(energy),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


if __name__ == "__main__":
    sys.exit(main())
