"""A ladder on disk: a file for every finished method, so that a broken-off ladder goes on."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geobasin.config import TrainConfig
from geobasin.contest import Method, Outcome, reported
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.files import canonical_json, clear_partial, read_json, write_json
from geobasin.ladder import SEEDS, LadderResult, checked_names, contenders, ladder
from geobasin.machine import hardware, pick_device, versions
from geobasin.seal import MANIFEST, require_verified, seal
from geobasin.tensors import read_tensors, save_tensors

CONFIG = "config.json"
RESULT = "ladder.json"
_LABELS = "labels.safetensors"
_METHODS = "methods"


def write_ladder(
    features: FeatureSet,
    out: Path,
    seeds: int = SEEDS,
    config: TrainConfig | None = None,
    device: str | torch.device = "cpu",
    methods: Sequence[Method] | None = None,
    source: str | None = None,
    progress: bool = False,
) -> LadderResult:
    """Train the ladder into a folder and seal it.

    Each method leaves its predictions as it finishes. The same call again trains only those that
    are missing, so that Ctrl-C loses one method at most.

    Args:
        features: to learn from, to choose by and to report on.
        out: the folder: new, empty, or of the same ladder.
        seeds: trainings of every method with chance in it, at least 1.
        config: of GeoFractalDavid; the defaults where not given.
        device: where the trained heads are trained.
        methods: those to compare; all where not given.
        source: how the features were named by the user.
        progress: show a bar on stderr.

    Returns:
        The ladder. The folder then holds ``ladder.json``, ``config.json``, the labels, a file of
        predictions for each method, and ``SHA512SUMS``.

    Raises:
        GeoBasinError: a setting outside its range; the folder holds something else, another ladder
            or one that was altered after it was sealed; or a refused write.
    """
    config = config or TrainConfig()
    place = pick_device(device)
    chosen = contenders(config, place) if methods is None else list(methods)
    names = checked_names(chosen, seeds)
    # What cannot be built is refused here, before there is a folder.
    config.build_model(features)
    _claim(out, _describe(features, config, seeds, chosen, source, place))
    files = {name: _file(out, name) for name in names}
    kept = {name: _load(path) for name, path in files.items() if path.exists()}
    result = ladder(
        features,
        config,
        seeds,
        device=place,
        methods=chosen,
        progress=progress,
        kept=kept,
        keep=lambda outcome: _save(files[outcome.name], outcome, features.num_classes),
    )
    save_tensors(out / _LABELS, {"labels": reported(features).labels}, {"split": result.split})
    write_json(out / RESULT, result.as_dict())
    seal(out)
    return result


def read_ladder(folder: Path) -> LadderResult:
    """Read a sealed ladder.

    Args:
        folder: as :func:`write_ladder` left it.

    Returns:
        The ladder.

    Raises:
        GeoBasinError: no ladder there, or it is not as it was sealed.
    """
    require_verified(folder)
    config = read_json(folder / CONFIG)
    labels, metadata = read_tensors(folder / _LABELS)
    try:
        outcomes = tuple(_load(_file(folder, name)) for name in config["methods"])
        return LadderResult(outcomes, labels["labels"].numpy(), metadata["split"], config["seeds"])
    except (LookupError, TypeError, AttributeError) as error:
        raise GeoBasinError(
            f"{folder} is not a ladder's folder: {error!r}; name another"
        ) from error


def _describe(
    features: FeatureSet,
    config: TrainConfig,
    seeds: int,
    methods: Sequence[Method],
    source: str | None,
    device: torch.device,
) -> dict[str, Any]:
    return {
        "features": features.describe(source),
        "train": config.as_dict(),
        "seeds": seeds,
        "methods": {method.name: list(method.settings) for method in methods},
        "versions": versions(),
        "hardware": hardware(device),
    }


def _claim(out: Path, described: dict[str, Any]) -> None:
    """Make the folder this ladder's, or refuse it where it is another's."""
    if not (out / CONFIG).exists():
        if out.is_dir() and all(path.name.startswith(f".{CONFIG}.") for path in out.iterdir()):
            # A ladder that was killed before its first file was there.
            clear_partial(out)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise GeoBasinError(f"{out} holds other files; name a new folder")
        write_json(out / CONFIG, described)
        return
    if (out / MANIFEST).exists():
        # Sealed once more it would pass, whatever was done to it in between.
        require_verified(out)
    other = _first_difference(read_json(out / CONFIG), described)
    if other is not None:
        raise GeoBasinError(f"{out} holds a ladder with other {other}; name a new folder")
    for folder in (out, out / _METHODS):
        clear_partial(folder)


def _first_difference(stored: Any, described: dict[str, Any]) -> str | None:
    for part, value in described.items():
        there = stored.get(part) if isinstance(stored, dict) else None
        if part == "features":
            # The same rows may have been named by another path.
            same = isinstance(there, dict) and there.get("sha512") == value["sha512"]
        else:
            same = there == value
        if not same:
            return part
    return None


def _file(out: Path, name: str) -> Path:
    return out / _METHODS / (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + ".safetensors")


def _save(path: Path, outcome: Outcome, classes: int) -> None:
    # One byte a prediction where that is enough: a ladder is meant to be kept.
    kind = torch.uint8 if classes <= 256 else torch.int32
    record = {name: value for name, value in asdict(outcome).items() if name != "predictions"}
    predictions = torch.from_numpy(outcome.predictions).to(kind)
    save_tensors(path, {"predictions": predictions}, {"outcome": canonical_json(record)})


def _load(path: Path) -> Outcome:
    tensors, metadata = read_tensors(path)
    try:
        record = json.loads(metadata["outcome"])
        predictions = tensors["predictions"].numpy().astype(np.int64)
        candidates = tuple(record.pop("candidates"))
        return Outcome(predictions=predictions, candidates=candidates, **record)
    except GeoBasinError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise GeoBasinError(f"{path} is not a method's file: {error!r}; remove it") from error
