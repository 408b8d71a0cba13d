"""What finished runs have learned, kept small: their records and prototypes, not their weights."""

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geobasin.contest import reported
from geobasin.epoch_record import EpochRecord
from geobasin.errors import GeoBasinError
from geobasin.feature_options import add_feature_options, read_features
from geobasin.feature_set import FeatureSet
from geobasin.files import read_json, write_json
from geobasin.probe import cantor_variance_explained, prototypes
from geobasin.runs import Run, load_run
from geobasin.seal import require_verified, seal
from geobasin.tensors import read_tensors, save_tensors

RECORDS = "learned.json"
_PROTOTYPES = "prototypes.safetensors"


@dataclass(frozen=True)
class Learned:
    """What one training has learned, as far as the claims ask for it.

    Attributes:
        seed: of the training.
        history: a record for every epoch.
        prototypes: Cantor prototypes of the best model, by scale, each [C] float64.
        variance_explained: eta squared of the Cantor coordinate over the classes, on the rows that
            are reported on (test, or val where there is no test), 0 to 1.
    """

    seed: int
    history: tuple[EpochRecord, ...]
    prototypes: dict[int, np.ndarray]
    variance_explained: float


def keep_learned(folders: Sequence[Path], features: FeatureSet, out: Path) -> list[Learned]:
    """Keep what finished runs have learned in a small folder, and seal it.

    Args:
        folders: of sealed runs that differ by their seed alone, as ``train`` prints them.
        features: those that the runs were trained on.
        out: a new or an empty folder. It then holds ``learned.json`` (settings, machine, and for
            every run its records and the SHA-512 of its weights), the prototypes, ``SHA512SUMS``.

    Returns:
        What each has learned, by its seed.

    Raises:
        GeoBasinError: a run is not as it was sealed, the runs differ in more than their seed, the
            features are others, or the folder is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GeoBasinError(f"{out} is in use; name a new folder")
    for folder in folders:
        require_verified(folder)
    runs = sorted((load_run(folder) for folder in folders), key=_seed)
    digest = features.digest()
    first = _shared(runs[0])
    for run in runs:
        if run.config["features"]["sha512"] != digest:
            raise GeoBasinError(f"{run.folder} was trained on other features; name its own")
        if _shared(run) != first:
            raise GeoBasinError(f"{run.folder} has other settings than {runs[0].folder}")
    rows = reported(features)
    kept = [
        Learned(
            _seed(run),
            tuple(run.history),
            {scale: prototypes(run.model, scale) for scale in run.model.scales},
            cantor_variance_explained(run.model, rows),
        )
        for run in runs
    ]
    if len({learned.seed for learned in kept}) < len(kept):
        raise GeoBasinError("two of the runs have the same seed; name each once")
    write_json(
        out / RECORDS,
        {
            **first,
            "features": {**runs[0].config["features"], "source": features.name},
            "runs": [_record(run, learned) for run, learned in zip(runs, kept, strict=True)],
        },
    )
    tensors = {
        f"seed{learned.seed}.scale{scale}": torch.from_numpy(places)
        for learned in kept
        for scale, places in learned.prototypes.items()
    }
    save_tensors(out / _PROTOTYPES, tensors, {})
    seal(out)
    return kept


def read_learned(folder: Path) -> list[Learned]:
    """Read what sealed runs have learned.

    Args:
        folder: as :func:`keep_learned` left it; its seal is verified.

    Returns:
        What each has learned, by its seed.

    Raises:
        GeoBasinError: the folder is not as it was sealed, or holds something else.
    """
    require_verified(folder)
    document = read_json(folder / RECORDS)
    tensors, _ = read_tensors(folder / _PROTOTYPES)
    try:
        return [
            Learned(
                record["seed"],
                tuple(EpochRecord.from_dict(epoch) for epoch in record["history"]),
                {
                    scale: tensors[f"seed{record['seed']}.scale{scale}"].numpy()
                    for scale in document["train"]["scales"]
                },
                record["variance_explained"],
            )
            for record in document["runs"]
        ]
    except (LookupError, TypeError, AttributeError) as error:
        raise GeoBasinError(f"{folder} does not hold what runs learned: {error!r}") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options.

    Args:
        parser: of the subcommand.
    """
    parser.add_argument("folders", type=Path, nargs="+", metavar="RUN_DIR")
    add_feature_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")


def run(options: argparse.Namespace) -> None:
    """Do what the command line asks, and print the folder.

    Args:
        options: from a parser with :func:`add_arguments`.

    Raises:
        GeoBasinError: as for :func:`keep_learned`.
    """
    keep_learned(options.folders, read_features(options), options.out)
    print(options.out)


def _seed(run: Run) -> int:
    seed: int = run.config["train"]["seed"]
    return seed


def _shared(run: Run) -> dict[str, Any]:
    """The settings, versions and hardware of a run, without its seed."""
    train = {name: value for name, value in run.config["train"].items() if name != "seed"}
    return {
        "train": train,
        "versions": run.config["versions"],
        "hardware": run.config["hardware"],
    }


def _record(run: Run, learned: Learned) -> dict[str, Any]:
    (weights,) = run.folder.glob("best_model_acc*.safetensors")
    return {
        "seed": learned.seed,
        "weights_sha512": hashlib.sha512(weights.read_bytes()).hexdigest(),
        "metadata": {name: run.metadata[name] for name in _METADATA if name in run.metadata},
        "variance_explained": learned.variance_explained,
        "history": [record.as_dict() for record in learned.history],
    }


_METADATA = ("epoch", "val_accuracy", "test_accuracy", "parameters", "seconds")
