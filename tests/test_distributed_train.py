"""Two real processes train on features as one process with the joined batch does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_process import CONFIG, counted, rows

from geobasin.distributed import Group
from geobasin.runs import Run, load_run, train_run
from geobasin.seal import verify

SCRIPT = Path(__file__).with_name("train_process.py")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left behind."""
    folder = tmp_path_factory.mktemp("two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    for part in ("live", "command"):
        done = subprocess.run(
            [*torchrun, "--nproc-per-node", "2", str(SCRIPT), part, str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


def only_run(out: Path) -> Run:
    (folder,) = out.glob("weights/*/*")
    return load_run(folder)


def test_losses_are_those_of_one_process_with_the_joined_batch(out: Path, tmp_path: Path) -> None:
    one = load_run(train_run(rows(), CONFIG, tmp_path, source="memory"))
    two = only_run(out / "whole")
    assert len(two.history) == CONFIG.epochs
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours.terms == pytest.approx(theirs.terms, abs=1e-5)
        assert ours.val == theirs.val
    assert two.metadata["val_accuracy"] == one.metadata["val_accuracy"]
    assert two.metadata["test_accuracy"] == one.metadata["test_accuracy"]
    assert two.folder.name.split("-")[2:] == one.folder.name.split("-")[2:]
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], value, atol=1e-4, rtol=0)


def test_only_one_process_writes(out: Path) -> None:
    assert len(list((out / "whole").glob("weights/*/*"))) == 1
    assert len(list((out / "whole").glob("runs/*/*/events*"))) == 1
    told = [(out / f"{rank}.txt").read_text() for rank in range(2)]
    # Both know the folder, and both have the same counts.
    assert told[0] == told[1]


def test_a_run_that_broke_off_goes_on_as_if_nothing_had_happened(out: Path) -> None:
    whole, resumed = only_run(out / "whole"), only_run(out / "resumed")
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours.as_dict() | {"seconds": 0} == theirs.as_dict() | {"seconds": 0}
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_every_validation_row_is_counted_once(out: Path) -> None:
    assert repr(counted(Group())) in (out / "0.txt").read_text()


def test_the_command_prints_and_seals_once(out: Path) -> None:
    run = only_run(out / "command")
    assert verify(run.folder) == []
    assert (out / "stdout").read_text().splitlines() == [str(run.folder)]
