"""The training loop of the ViT-Tiny stage."""

from tqdm import tqdm

from geobasin.stage4_data import step_loader, val_loader
from geobasin.stage4_model import Validation, autocast, build_vit, evaluate, has_bfloat16
from geobasin.stage4_progress import Progress
from geobasin.stage4_trainer import Stage, Trainer
from geobasin.telemetry import TelemetryLog

__all__ = [
    "Progress",
    "Stage",
    "Validation",
    "autocast",
    "build_vit",
    "evaluate",
    "has_bfloat16",
    "train",
]


def train(
    stage: Stage,
    log: TelemetryLog | None,
    progress: Progress,
    workers: int = 0,
    quiet: bool = False,
) -> None:
    """Train, write a line for every step that is to be told, and keep checkpoints.

    The loss is read at every step, before the step is taken, so that one that is not a number stops
    the run.

    Args:
        stage: what the run is made of.
        log: where the lines go; None in every process but the main one.
        progress: filled along the way; where it counts steps already, the run goes on from the
            checkpoint of that step.
        workers: processes that decode images.
        quiet: show no progress bar on stderr.

    Raises:
        GeoBasinError: an image cannot be read, a checkpoint cannot be read or written, or the log
            cannot be written.
    """
    config, group = stage.config, stage.group
    run = Trainer(stage, log, progress)
    first = progress.steps + 1
    batches = iter(
        step_loader(
            stage.sets.train,
            len(stage.sets.train),
            config.batch,
            config.seed,
            first,
            config.steps,
            workers,
            group,
        )
    )
    judges = val_loader(stage.sets.val, config.batch, workers, group)
    with tqdm(
        desc=f"{config.mode} ({config.optimizer})",
        unit="step",
        initial=first - 1,
        total=config.steps,
        disable=quiet or not group.is_main,
    ) as bar:
        run.begin()
        for step in range(first, config.steps + 1):
            with group.together():
                pixels, labels = next(batches)
            seen = run.look(step, pixels, labels)
            if seen is None:
                break
            reading = run.step(step)
            bar.set_postfix(loss=f"{seen.loss:.3f}", refresh=False)
            bar.update()
            window = run.close_window(step)
            validation = run.judge(step, judges) if config.judged(step) else None
            if config.told(step):
                run.tell(step, seen, reading, window, validation)
            if progress.stopped or progress.reached:
                break
            run.pause(step)
        run.end()
