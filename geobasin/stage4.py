"""The ViT-Tiny stage: DCLR (RFT) or Adam (BASE) on images, with telemetry, joules and a seal.

Usage: ``python -m geobasin.stage4 --mode RFT --steps 1000 --batch 256 --lr 5e-4``, and the same
with ``--mode BASE``. Weights and the order of the images follow from the seed, so that the two
modes differ in the optimiser alone. An interrupted run goes on by the same command with
``--resume``, and ``torchrun --nproc-per-node 2 -m geobasin.stage4 ...`` shares each batch between
processes.
"""

import argparse
import sys
from contextlib import closing, nullcontext
from pathlib import Path

import torch

from geobasin.command_line import OneLineParser
from geobasin.distributed import Group, process_group
from geobasin.energy import EnergyMeter
from geobasin.energy_sources import Unavailable
from geobasin.errors import GeoBasinError
from geobasin.images import load_images
from geobasin.machine import hardware, versions
from geobasin.seal import MANIFEST
from geobasin.stage4_checkpoint import Checkpoints, require_same
from geobasin.stage4_config import CHECKPOINT_EVERY, StageConfig, add_arguments, config_from
from geobasin.stage4_folder import (
    CONFIG,
    LOG,
    SUMMARY,
    WEIGHTS,
    StageRun,
    close_folder,
    describe,
    load_stage,
    open_log,
    require_free,
    require_unfinished,
    write_end,
)
from geobasin.stage4_loop import Progress, Stage, build_vit, train
from geobasin.stage4_objective import with_head
from geobasin.telemetry import TelemetryLog, read_header

__all__ = [
    "CONFIG",
    "LOG",
    "SUMMARY",
    "WEIGHTS",
    "StageConfig",
    "StageRun",
    "add_arguments",
    "load_stage",
    "main",
    "run",
    "run_stage",
]

_MOST_WORKERS = 1024


def run_stage(
    config: StageConfig,
    out: Path,
    data_dir: Path | None = None,
    device: torch.device | None = None,
    meter: EnergyMeter | None = None,
    *,
    classes: str | None = None,
    idle_seconds: float = 0.0,
    workers: int = 0,
    quiet: bool = False,
    resume: bool = False,
    checkpoint_every: int = CHECKPOINT_EVERY,
    keep_weights: bool = True,
    group: Group | None = None,
) -> Path:
    """Run the stage and seal what it leaves.

    Args:
        config: the settings.
        out: a folder that is missing or empty, or, to go on with, that of an interrupted run.
        data_dir: images as ``train/<class>/<image>`` and ``val/<class>/<image>``; None for fractal
            images.
        device: what computes; None takes CUDA where there is one.
        meter: of that device; None opens the best there is.
        classes: which of the folder's classes, as :func:`geobasin.image_folder.list_images` takes
            it; None for all.
        idle_seconds: time to measure the idle power beforehand; 0 leaves it unknown.
        workers: processes that decode images.
        quiet: show no progress bar on stderr.
        resume: go on with the run in ``out``, from its newest checkpoint. Weights and log become
            what they would have been, but for times, temperatures and joules.
        checkpoint_every: steps between two checkpoints; 0 writes none.
        keep_weights: leave ``model.safetensors``; without it their digest alone is kept.
        group: the processes that train together; None for this one alone. Their main one writes.

    Returns:
        ``out``, which holds the log, ``model.safetensors``, ``config.json``, ``summary.json`` and
        ``SHA512SUMS``.

    Raises:
        GeoBasinError: bad images, a folder in use or, with ``resume``, without an unfinished run of
            these settings, a device or package that is missing, a file system that refuses, or a
            loss that is not finite. In the last case what was logged is kept, summed up and sealed;
            where an image or a write fails after the first step, ``resume`` goes on.
    """
    if not 0 <= workers <= _MOST_WORKERS:
        raise GeoBasinError(f"workers must lie in [0, {_MOST_WORKERS}], not {workers}")
    group = group or Group()
    group.share(config.batch)
    device = device or group.device()
    with group.together():
        if group.is_main:
            (require_unfinished if resume else require_free)(out)
    sets = load_images(data_dir, config.image_size, config.seed, classes)
    count = len(sets.class_names)
    vit = build_vit(config.image_size, count, config.seed)
    model = with_head(config.head, vit, count, config.seed).to(device)
    with closing(meter or EnergyMeter(device)) as open_meter:
        if idle_seconds > 0:
            open_meter.measure_idle(idle_seconds)
        header = describe(config, sets, model, device, open_meter, group)
        about = {part: header[part] for part in ("config", "images")}
        checkpoints = Checkpoints(out, checkpoint_every, about)
        progress = Progress()
        made = not out.exists()
        log: TelemetryLog | None = None
        summed_up = False
        with group.together():
            if group.is_main and resume and (out / SUMMARY).exists():
                require_same(read_header(out / LOG), header, out / LOG)
                summed_up = True
            elif group.is_main:
                log, progress.steps = open_log(checkpoints, config, header, resume)
        summed, steps = group.gather([summed_up, progress.steps])[0]
        progress.steps = int(steps)
        if resume:
            on = {"processes": group.size, "versions": versions(), "hardware": hardware(device)}
            progress.resumed = [{"after_step": progress.steps, **on}]
        if not summed:
            stage = Stage(config, sets, model, open_meter, checkpoints, group)
            with closing(log) if log is not None else nullcontext():
                try:
                    train(stage, log, progress, workers, quiet)
                except GeoBasinError as error:
                    if progress.steps > 0 or resume:
                        raise GeoBasinError(
                            f"{error}; {out} keeps the run: once that is mended, the same command "
                            "with --resume goes on"
                        ) from error
                    if log is not None:
                        log.close()
                        log.path.unlink()
                        if made:
                            out.rmdir()
                    raise
    if group.is_main:
        if not summed:
            write_end(out, checkpoints, model, header, progress, keep_weights)
        close_folder(out, checkpoints)
    return out


def run(args: argparse.Namespace) -> None:
    """Do what the command line asks, and print the folder of the run.

    Args:
        args: from a parser with :func:`add_arguments`.

    Raises:
        GeoBasinError: as for :func:`run_stage`.
    """
    config = config_from(args)
    out = args.out or Path("runs") / "stage4" / f"{config.mode}-seed{config.seed}"
    with process_group() as group:
        device = group.device(args.device)
        try:
            run_stage(
                config,
                out,
                args.data_dir,
                device,
                _meter(device, args.assumed_watts, group),
                classes=args.classes,
                idle_seconds=args.idle_seconds,
                workers=args.workers,
                quiet=args.quiet,
                resume=args.resume,
                checkpoint_every=args.checkpoint_every,
                keep_weights=not args.no_weights,
                group=group,
            )
        except KeyboardInterrupt:
            if group.is_main and (out / LOG).exists() and not (out / MANIFEST).exists():
                print("interrupted; the same command with --resume goes on", file=sys.stderr)
            raise
        if group.is_main:
            print(out)


def main(argv: list[str] | None = None) -> int:
    """Run the stage as a program.

    Args:
        argv: the options; None takes those of the process.

    Returns:
        0; 2 after one line on stderr about what its reader can fix; 130 after Ctrl-C.
    """
    parser = OneLineParser(prog="python -m geobasin.stage4", description=__doc__)
    add_arguments(parser)
    try:
        run(parser.parse_args(argv))
    except GeoBasinError as error:
        print(f"geobasin: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("geobasin: interrupted", file=sys.stderr)
        return 130
    return 0


def _meter(device: torch.device, assumed_watts: float | None, group: Group) -> EnergyMeter:
    """A meter for all that the group spends; one that knows nothing where none can see it all."""
    if group.size == 1:
        return EnergyMeter(device, assumed_watts=assumed_watts)
    if assumed_watts is not None:
        raise GeoBasinError("--assumed-watts sees one process alone; leave it out under torchrun")
    # The CPU's own counters count for every process of the machine, a GPU's for that GPU alone.
    if group.is_main and device.type == "cpu" and group.local_size == group.size:
        return EnergyMeter(device)
    return EnergyMeter(device, Unavailable(f"{group.size} processes", None))


if __name__ == "__main__":
    sys.exit(main())
