"""Runs made in pairs are read in pairs, and cells are compared seed by seed."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from geobasin.errors import GeoBasinError
from geobasin.stage4 import StageConfig, run_stage
from geobasin.stage4_folder import StageRun
from geobasin.stage_runs import BASE, RFT, cells_table, read_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fractal images, two seeds in both modes, one step each."""
    out = tmp_path_factory.mktemp("runs")
    for seed in (5, 4):
        for mode in (RFT, BASE):
            config = StageConfig(mode=mode, steps=1, batch=2, image_size=32, seed=seed)
            place = out / "fractal" / f"{mode}-seed{seed}"
            cpu = torch.device("cpu")
            run_stage(config, place, None, cpu, quiet=True, keep_weights=False)
    return out


def test_pairs_stand_in_the_order_of_their_seeds(folder: Path) -> None:
    pairs = read_pairs(folder)
    assert list(pairs) == ["fractal"]
    for mode, runs in pairs["fractal"].items():
        assert [run.header["config"]["mode"] for run in runs] == [mode, mode]
        assert [run.header["config"]["seed"] for run in runs] == [4, 5]


def test_a_seed_without_its_partner_and_a_broken_seal_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    log = copy / "fractal" / "RFT-seed4" / "stage4_vit_tiny.jsonl"
    log.write_bytes(log.read_bytes() + b" ")
    with pytest.raises(GeoBasinError, match="stage4_vit_tiny"):
        read_pairs(copy)
    shutil.rmtree(log.parent)
    with pytest.raises(GeoBasinError, match=r"\[5\] of RFT and \[4, 5\] of BASE"):
        read_pairs(copy)


def cell(head: str, mode: str, seed: int, accuracy: float) -> StageRun:
    config = {"head": head, "loss": "cross-entropy", "mode": mode, "seed": seed}
    summary: dict[str, Any] = {"val_acc": accuracy, "val_loss": 2.0 + seed}
    return StageRun({"config": config}, [], summary)


def test_differences_are_taken_seed_by_seed() -> None:
    plain, ours = [0.30, 0.40, 0.32], [0.33, 0.42, 0.33]
    runs = [cell("basin", RFT, seed, value) for seed, value in enumerate(ours)]
    runs += reversed([cell("linear", BASE, seed, value) for seed, value in enumerate(plain)])
    table = cells_table(runs)
    assert table.index[0] == ("linear", "cross-entropy", "Adam")
    row = table.loc[("basin", "cross-entropy", "DCLR")]
    gains = [a - b for a, b in zip(ours, plain, strict=True)]
    paired = stats.ttest_rel(ours, plain).confidence_interval(0.95)
    assert row["difference"] == pytest.approx(sum(gains) / 3)
    assert row[["difference_low", "difference_high"]].to_list() == pytest.approx(list(paired))
    assert table["accuracy"].to_list() == pytest.approx([sum(plain) / 3, sum(ours) / 3])
    assert row["loss"] == 3.0
    assert all(low < high for low, high in pairwise(row[["low", "accuracy", "high"]]))


def test_a_cell_with_other_seeds_is_refused() -> None:
    runs = [cell("linear", BASE, 0, 0.1), cell("linear", BASE, 1, 0.2), cell("basin", RFT, 0, 0.3)]
    with pytest.raises(GeoBasinError, match="every cell needs the seeds"):
        cells_table(runs)
    with pytest.raises(GeoBasinError, match="every cell needs the seeds"):
        cells_table(runs[2:])
