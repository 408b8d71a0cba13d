"""A training that is killed, and goes on: not a bit of weights and history may differ."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import Workplace, count_changes, die_at_change, largest_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.features import load_features, synthetic
from geobasin.files import read_json
from geobasin.runs import CHECKPOINT, HISTORY, load_run, train_run
from geobasin.seal import MANIFEST, verify

CONFIG = TrainConfig(k=3, scales=(8, 16), epochs=4, batch=32, levels=2)
SAME = ["--k", "3", "--scales", "8,16", "--epochs", "4", "--batch", "32", "--levels", "2"]
COMMAND = ["train", "--features", "f.safetensors", *SAME, "--device", "cpu", "--out", "out"]
NAME = "GeoFractalDavid-Basin-k3"


def train() -> None:
    """Train without figures, card and seal, and go on where there is something to go on with."""
    features = load_features("f.safetensors")
    begin = partial(train_run, features, CONFIG, Path("out"), source="f.safetensors")
    try:
        begin(resume=True)
    except GeoBasinError as error:
        # Before the first checkpoint there is nothing to go on with.
        if "no interrupted run" not in str(error):
            raise
        begin()


def command() -> int:
    """The same by the whole command, to the seal."""
    from geobasin.__main__ import main

    if any(Path("out/weights").glob(f"*/*/{MANIFEST}")):
        # Killed after its seal was there, the run lacks nothing.
        return 0
    return main([*COMMAND, "--resume"]) and main(COMMAND)


def kept(place: Workplace) -> dict[str, Any]:
    """All that a finished run leaves, but for durations and dates."""
    complete = [
        path.parent
        for path in place.folder.glob(f"out/weights/{NAME}/*/{HISTORY}")
        if len(read_json(path)) == CONFIG.epochs
    ]
    (folder,) = complete
    run = load_run(folder)
    board = EventAccumulator(str(place.folder / "out" / "runs" / NAME / folder.name)).Reload()
    history = [record.as_dict() for record in run.history]
    for part in (*history, run.metadata):
        del part["seconds"]
    return {
        "files": sorted(path.name for path in folder.iterdir()),
        "seal": (folder / MANIFEST).exists() and verify(folder),
        "weights": next(folder.glob("*.safetensors")).read_bytes(),
        "metadata": run.metadata,
        "history": history,
        "events": {
            tag: [(event.step, event.value) for event in board.Scalars(tag)]
            for tag in board.Tags()["scalars"]
        },
    }


Start = Callable[[Path], Workplace]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Makes working folders with features in them."""
    path = tmp_path_factory.mktemp("features") / "f.safetensors"
    synthetic(classes=4, feature_dim=8, rows_per_class=20).save(path)

    def make(base: Path) -> Workplace:
        base.mkdir()
        place = Workplace(base)
        shutil.copy(path, place.folder)
        return place

    return make


def undisturbed(start: Start, base: Path, task: Callable[[], object]) -> Workplace:
    place = start(base)
    ended = place.do(task)
    assert ended.code == 0, ended.err
    return place


def goes_on_as_if_nothing_happened(
    place: Workplace, task: Callable[[], object], whole: dict[str, Any]
) -> None:
    ended = place.do(task)
    assert ended.code == 0, ended.err
    found = kept(place)
    for part, value in whole.items():
        assert found[part] == value, part


@pytest.mark.fault(
    "train", "SIGKILL at three random times, each time --resume", times=5, campaign=30
)
def test_killed_at_random_times(fault, start: Start, tmp_path: Path) -> None:
    draw = random.Random(0)
    whole = kept(undisturbed(start, tmp_path / "whole", train))
    # The first process had to wait until torch was loaded.
    began = time.perf_counter()
    undisturbed(start, tmp_path / "again", train)
    longest = time.perf_counter() - began
    for number in fault.tries():
        with fault:
            place = start(tmp_path / str(number))
            kills = 0
            while kills < 3:
                running = place.begin(train)
                # A run that was faster than its killer is tried once more.
                if running.ended(within=draw.uniform(0, longest)) is None:
                    kills += running.kill().code == -signal.SIGKILL
                else:
                    shutil.rmtree(place.folder / "out")
            goes_on_as_if_nothing_happened(place, train, whole)


@pytest.mark.fault("train", "SIGKILL at a change of a file, then --resume", times=5, campaign=60)
def test_killed_between_any_two_changes_of_a_file(fault, start: Start, tmp_path: Path) -> None:
    whole = kept(undisturbed(start, tmp_path / "whole", command))
    assert whole["seal"] == []
    place, counted = start(tmp_path / "counted"), tmp_path / "count"
    assert place.do(command, partial(count_changes, place.folder / "out", counted)).code == 0
    changes = counted.stat().st_size
    for number in fault.tries():
        with fault:
            place = start(tmp_path / str(number))
            # Spread evenly from the first change to the last, which gives the seal its name.
            moment = 1 + number * (changes - 1) // (fault.times - 1)
            die = partial(die_at_change, place.folder / "out", moment)
            assert place.do(command, die).code == -signal.SIGKILL
            goes_on_as_if_nothing_happened(place, command, whole)


@pytest.mark.fault("train", "killed in the middle of a write, then --resume", times=3, campaign=30)
def test_killed_in_the_middle_of_a_write(fault, start: Start, tmp_path: Path) -> None:
    draw = random.Random(1)
    reference = start(tmp_path / "whole")
    note = partial(note_checkpoint, tmp_path / "size")
    assert reference.do(note).code == 0
    whole = kept(reference)
    largest = int((tmp_path / "size").read_text())
    for number in fault.tries():
        with fault:
            place = start(tmp_path / str(number))
            # The kernel kills at that byte; nothing is as large as a checkpoint.
            size = draw.randrange(largest // 4, largest)
            ended = place.do(train, partial(largest_file, size, signalled=True))
            assert ended.code == -signal.SIGXFSZ
            goes_on_as_if_nothing_happened(place, train, whole)


def note_checkpoint(file: Path) -> None:
    """Train, and write down how large the checkpoints are."""
    features = load_features("f.safetensors")

    def note(folder: Path, epoch: int) -> None:
        file.write_text(str((folder / CHECKPOINT).stat().st_size))

    train_run(features, CONFIG, Path("out"), source="f.safetensors", on_epoch=note)
