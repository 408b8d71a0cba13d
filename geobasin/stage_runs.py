"""Sealed runs of the stage in groups: pairs of the two modes, and cells of head, loss and mode."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from geobasin.claims import seed_interval
from geobasin.errors import GeoBasinError
from geobasin.stage4_folder import SUMMARY, StageRun, load_stage

RFT, BASE = "RFT", "BASE"
# Runs of each mode, paired by their place, by the name of the images.
Pairs = Mapping[str, Mapping[str, Sequence[StageRun]]]
_FIRST = ("linear", "cross-entropy", BASE)


def read_pairs(folder: Path) -> Pairs:
    """Read sealed runs that were made in pairs, one of each mode a seed.

    Args:
        folder: holds ``<images>/<name>`` with a sealed run in each.

    Returns:
        By images and by mode, the runs in the order of their seeds.

    Raises:
        GeoBasinError: a run is not as it was sealed, or a seed lacks one of the two modes.
    """
    pairs = {}
    for images in sorted(path for path in folder.iterdir() if path.is_dir()):
        runs = read_runs(images)
        modes = {
            mode: [run for run in runs if run.header["config"]["mode"] == mode]
            for mode in (RFT, BASE)
        }
        seeds = [[_seed(run) for run in modes[mode]] for mode in (RFT, BASE)]
        if seeds[0] != seeds[1] or len(set(seeds[0])) < len(seeds[0]):
            raise GeoBasinError(
                f"{images} has the seeds {seeds[0]} of RFT and {seeds[1]} of BASE; "
                "run every seed once in either mode"
            )
        pairs[images.name] = modes
    return pairs


def read_runs(folder: Path) -> list[StageRun]:
    """Read every sealed run in a folder.

    Args:
        folder: holds one folder a run.

    Returns:
        The runs in the order of their seeds.

    Raises:
        GeoBasinError: there is none, or one is not as it was sealed.
    """
    runs = [load_stage(path.parent) for path in sorted(folder.glob(f"*/{SUMMARY}"))]
    if not runs:
        raise GeoBasinError(f"no run of the stage in {folder}; name another folder")
    return sorted(runs, key=_seed)


def cells_table(runs: Sequence[StageRun]) -> pd.DataFrame:
    """Compare heads, losses and modes, seed by seed.

    Args:
        runs: of the same seeds in every cell, two or more; the linear head with cross-entropy in
            mode BASE among them.

    Returns:
        A row for each cell. ``accuracy`` on the validation images with the ends ``low`` and
        ``high`` of its 95 % interval over the seeds (Student's t); ``difference`` to the linear
        head with cross-entropy and Adam, with ``difference_low`` and ``difference_high`` from the
        pairs (NaN in that row itself); ``loss``, validation cross-entropy in nat.

    Raises:
        GeoBasinError: that cell is missing, or another has other seeds.
    """
    cells: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    for run in runs:
        config = run.header["config"]
        cell = (config["head"], config["loss"], config["mode"])
        cells.setdefault(cell, {})[config["seed"]] = run.summary
    if any(set(cells[cell]) != set(cells.get(_FIRST, {})) for cell in cells):
        raise GeoBasinError(f"every cell needs the seeds of {', '.join(_FIRST)}; run them all")
    first = cells[_FIRST]
    rows = []
    for (head, loss, mode), of_seed in sorted(cells.items(), key=lambda item: _place(*item[0])):
        accuracy = seed_interval([of_seed[seed]["val_acc"] for seed in sorted(first)])
        row = {
            "head": head,
            "loss minimised": loss,
            "optimiser": {RFT: "DCLR", BASE: "Adam"}[mode],
            "accuracy": accuracy.mean,
            "low": accuracy.low,
            "high": accuracy.high,
        }
        if of_seed is not first:
            pairs = [of_seed[seed]["val_acc"] - first[seed]["val_acc"] for seed in first]
            gain = seed_interval(pairs)
            row |= {
                "difference": gain.mean,
                "difference_low": gain.low,
                "difference_high": gain.high,
            }
        row["loss"] = statistics.fmean(summary["val_loss"] for summary in of_seed.values())
        rows.append(row)
    return pd.DataFrame(rows).set_index(["head", "loss minimised", "optimiser"])


def _place(head: str, loss: str, mode: str) -> tuple[bool, bool, bool]:
    """The first cell first; what differs from it in the head last."""
    return head != _FIRST[0], loss != _FIRST[1], mode != _FIRST[2]


def _seed(run: StageRun) -> int:
    seed: int = run.header["config"]["seed"]
    return seed
