"""Finish a run's folder: the three prototype figures, the model card, the seal."""

from pathlib import Path

from geobasin.card import FIGURES, model_card
from geobasin.figures.prototypes import (
    prototype_distribution,
    prototypes_cross_scale,
    prototypes_sorted,
)
from geobasin.files import write_text
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
    records = {"metadata": run.metadata, "config": run.config}
    write_text(folder / "README.md", model_card(run.model, records, weights, FIGURES))
    seal(folder)
    return run
