"""A trained model as one file that runs without this library: ``torch.export``."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from geobasin.errors import GeoBasinError
from geobasin.files import atomic_path, canonical_json
from geobasin.model import GeoFractalDavid
from geobasin.runs import load_run

SUFFIX = ".pt2"


def exported(model: GeoFractalDavid) -> ExportedProgram:
    """Trace a model into a graph of torch's own operations, for any number of rows.

    Args:
        model: trained, on any device; not changed.

    Returns:
        A program whose ``module()`` takes features [B, D] and gives logits [B, C].
    """
    # Neither 0 nor 1 row, which torch would take for fixed.
    example = model.fusion_weights.new_zeros(2, model.settings["feature_dim"])
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.export.export(
                model, (example,), dynamic_shapes={"features": {0: Dim("rows")}}, strict=False
            )
    finally:
        model.train(training)


def export_model(
    model: GeoFractalDavid, path: Path, facts: Mapping[str, object] | None = None
) -> Path:
    """Write a model as a ``.pt2`` file, with its settings in it.

    ``torch.export.load(path).module()(features)`` runs it where only torch is installed. That
    call may unpickle, so load such files only where you trust whoever made them; this library
    itself loads none and reads weights from safetensors alone.

    Args:
        model: trained.
        path: the file, ending in ``.pt2``.
        facts: what else the file should tell of the model, as JSON can hold it.

    Returns:
        The path.

    Raises:
        GeoBasinError: another ending, or the file system refuses the write.
    """
    if path.suffix != SUFFIX:
        raise GeoBasinError(f"cannot export to {path}: the name must end in {SUFFIX}")
    program = exported(model)
    # The example is all zeros, and the only thing that torch would pickle into the file.
    program.example_inputs = None
    about = canonical_json({"settings": model.settings, **(facts or {})})
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.export.save(program, file, extra_files={"geobasin.json": about})
    return path


def export_run(folder: Path, path: Path) -> Path:
    """Export the best model of a run, with the names of its classes.

    Args:
        folder: of a finished run.
        path: as for :func:`export_model`.

    Returns:
        The path.

    Raises:
        GeoBasinError: not a run's folder, another ending, or a refused write.
    """
    run = load_run(folder)
    facts = {name: run.metadata[name] for name in ("class_names", "val_accuracy")}
    return export_model(run.model, path, facts)
