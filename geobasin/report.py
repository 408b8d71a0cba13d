"""Finish a run's folder (figures, model card, seal), and push it to a model hub."""

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from geobasin.card import FIGURES, model_card
from geobasin.errors import GeoBasinError
from geobasin.figures.prototypes import (
    prototype_distribution,
    prototypes_cross_scale,
    prototypes_sorted,
)
from geobasin.files import write_text
from geobasin.hub import push_folder
from geobasin.runs import Run, load_run
from geobasin.seal import seal


def finish_run(folder: Path) -> Run:
    """Draw the figures, write the card and seal the folder.

    Args:
        folder: of a finished run.

    Returns:
        The run.

    Raises:
        GeoBasinError: not a finished run, or a write is refused.
    """
    run = load_run(folder)
    draw = (prototype_distribution, prototypes_sorted, prototypes_cross_scale)
    for file, plate in zip(FIGURES, draw, strict=True):
        plate(run.model).save(folder / file)
    weights = next(folder.glob("best_model_acc*.safetensors")).name
    write_text(folder / "README.md", model_card(run.model, _records(run), weights, FIGURES))
    seal(folder)
    return run


def push_run(folder: Path, repository: str) -> str:
    """Upload a run's best model and its folder to a model hub.

    The model goes to the top of the repository, where ``GeoFractalDavid.from_pretrained`` finds
    it, and the folder to ``weights/<model>/<run_id>``, as published.

    Args:
        folder: of a run, finished or not.
        repository: ``owner/name``, made where it is missing.

    Returns:
        Address of the last commit.

    Raises:
        GeoBasinError: no such run, or the hub refuses or cannot be reached.
    """
    run = load_run(folder)
    epochs = f"{len(run.history)} epochs"
    with TemporaryDirectory() as temporary:
        run.model.save_pretrained(temporary, model_card_kwargs={"run": _records(run)})
        push_folder(Path(temporary), repository, "", f"Best model after {epochs}")
    place = f"weights/{folder.parent.name}/{folder.name}"
    return push_folder(folder, repository, place, f"Run after {epochs}")


def push_periodically(repository: str, every: int) -> Callable[[Path, int], None]:
    """Make an ``on_epoch`` for :func:`geobasin.runs.train_run` that pushes every few epochs.

    A hub that cannot be reached does not end a training run: the failure is told on stderr.

    Args:
        repository: ``owner/name``.
        every: epochs between two pushes, at least 1.

    Returns:
        The function.

    Raises:
        GeoBasinError: ``every`` below 1.
    """
    if every < 1:
        raise GeoBasinError(f"epochs between two pushes must be at least 1, not {every}")

    def on_epoch(folder: Path, epoch: int) -> None:
        if epoch % every == 0:
            try:
                push_run(folder, repository)
            except GeoBasinError as error:
                tqdm.write(f"{error}; training goes on", file=sys.stderr)

    return on_epoch


def _records(run: Run) -> dict[str, object]:
    return {"metadata": run.metadata, "config": run.config}
