"""Two real processes that train one model, against one process with the joined batch."""

import json
import math
import socket
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stage_process import join, start

from geobasin.distributed import Group, process_group
from geobasin.errors import GeoBasinError
from geobasin.seal import verify
from geobasin.stage4 import LOG, SUMMARY, WEIGHTS, StageConfig, run_stage
from geobasin.stage4_data import StepBatches, val_loader
from geobasin.telemetry import read_log
from geobasin.tensors import load_weights


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def pair() -> list[dict[str, str]]:
    """What torchrun would tell each of two processes."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "test"}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes with torchrun's environment find."""
    folder = tmp_path_factory.mktemp("members")
    processes = [join(folder, environment) for environment in pair()]
    for process in processes:
        process.join()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in "01"]


def test_every_process_knows_its_place(members: list[dict[str, Any]]) -> None:
    assert [(m["rank"], m["size"], m["main"]) for m in members] == [(0, 2, True), (1, 2, False)]


def test_sums_are_rounded_once_and_the_same_everywhere(members: list[dict[str, Any]]) -> None:
    for member in members:
        assert member["sums"] == [3.0, float(2 * 2**53 - 3), 1e16 + 1.0]
        assert member["gathered"] == [[0.0, math.pi], [1.0, math.pi]]


def test_gradients_are_means_and_weights_those_of_the_main_process(
    members: list[dict[str, Any]],
) -> None:
    for member in members:
        assert member["weight"] == [[1.0, 1.0]]
        assert member["gradient"] == [[2.0, 20.0]]


def test_a_failure_is_told_by_all(members: list[dict[str, Any]]) -> None:
    assert [m["error"] for m in members] == [
        "process 1 stopped; see what it says",
        "my disk is full",
    ]


def test_without_torchrun_there_is_a_group_of_one() -> None:
    with process_group() as group:
        model = torch.nn.Linear(1, 1)
        assert group == Group()
        assert group.wrap(model) is model
        assert group.sums([2.5, float("inf")]) == [2.5, float("inf")]
        assert group.share(7) == 7
        with pytest.raises(GeoBasinError, match="mine"), group.together():
            raise GeoBasinError("mine")


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("RANK", "zero")
    with pytest.raises(GeoBasinError, match="torchrun"), process_group():
        pass


# Shares of the images.


@given(
    size=st.integers(1, 30),
    share=st.integers(1, 9),
    processes=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_shares_of_a_batch_are_even_and_together_the_batch(
    size: int, share: int, processes: int, seed: int
) -> None:
    batch = share * processes
    groups = [Group(rank, processes) for rank in range(processes)]
    shares = [StepBatches(size, batch, seed, 3, 5, group) for group in groups]
    for whole, *parts in zip(StepBatches(size, batch, seed, 3, 5), *shares, strict=True):
        assert [len(part) for part in parts] == [share] * processes
        assert list(chain(*parts)) == whole


@given(rows=st.integers(1, 40), batch=st.integers(1, 9), processes=st.integers(1, 5))
def test_validation_looks_at_every_row_once(rows: int, batch: int, processes: int) -> None:
    items = [(torch.zeros(1), row) for row in range(rows)]
    groups = [Group(rank, processes) for rank in range(processes)]
    loaders = [val_loader(items, batch, group=group) for group in groups]  # type: ignore[arg-type]
    seen = [int(row) for loader in loaders for _, labels in loader for row in labels]
    assert sorted(seen) == list(range(rows))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(GeoBasinError, match="batch 5 cannot be split evenly over 2"):
        StepBatches(10, 5, 0, 1, 1, Group(0, 2))


# The stage.


def make_images(root: Path) -> None:
    """Two classes, four images each to train on and five in all to judge by."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        for label, name in enumerate(["dark", "light"]):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count - (split == "val" and label)):
                pixels = generator.integers(0, 128, (32, 32, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def test_two_processes_train_as_one_with_the_joined_batch(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    words = ["stage4", "--mode", "RFT", "--steps", "3", "--batch", "4", "--image_size", "32"]
    words += ["--data_dir", "images", "--device", "cpu", "--val-every", "2", "--quiet"]
    words += ["--checkpoint-every", "1", "--out", "two"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", "-m", "geobasin", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["two"]

    config = StageConfig(mode="RFT", steps=3, batch=4, image_size=32, val_every=2)
    one = run_stage(config, tmp_path / "one", tmp_path / "images", torch.device("cpu"), quiet=True)
    two = tmp_path / "two"
    assert verify(two) == []
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())
    header, records = read_log(two / LOG)
    assert header["processes"] == 2
    for ours, theirs in zip(records, read_log(one / LOG)[1], strict=True):
        assert ours.step == theirs.step
        assert ours.acc == theirs.acc
        assert ours.val_acc == theirs.val_acc
        for name in ("loss", "val_loss", "coh", "flux", "E_ret"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-5), name
    weights = load_weights(one / WEIGHTS)
    for name, value in load_weights(two / WEIGHTS).items():
        assert torch.allclose(value, weights[name], atol=2e-3), name
    assert json.loads((two / SUMMARY).read_text())["val_images"] == 5


@pytest.mark.parametrize("loss", ["cross-entropy", "basin"])
def test_two_processes_share_a_basin_head_as_one_has_it(loss: str, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    words = ["--mode", "BASE", "--steps", "3", "--batch", "4", "--image_size", "32", "--quiet"]
    words += ["--data_dir", str(tmp_path / "images"), "--device", "cpu", "--val-every", "2"]
    words += ["--head", "basin", "--loss", loss, "--out"]
    alone = [("one", {})]
    for runs in (alone, [("two", environment) for environment in pair()]):
        processes = []
        for number, (name, environment) in enumerate(runs):
            place = tmp_path / f"{name}-{number}"
            place.mkdir()
            told = [*words, str(tmp_path / name)]
            processes.append((place, start(place, told, environment=environment)))
        for place, process in processes:
            process.join()
            assert process.exitcode == 0, (place / "err").read_text()
    assert verify(tmp_path / "two") == []
    (header, one), (other, two) = (read_log(tmp_path / name / LOG) for name in ("one", "two"))
    assert (header["processes"], other["processes"]) == (1, 2)
    for ours, theirs in zip(two, one, strict=True):
        assert ours.val_acc == theirs.val_acc
        for name in ("loss", "val_loss", "coh", "flux", "E_ret"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-4), name
