"""The ViT stage killed, and gone on with; tests/test_stage4_resume.py has every single moment."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import Workplace, count_changes, die_at_change
from stage_process import little_vit

from geobasin import stage4
from geobasin.seal import MANIFEST, verify
from geobasin.stage4 import LOG, WEIGHTS, load_stage

WORDS = ["stage4", "--mode", "RFT", "--steps", "6", "--batch", "4", "--image_size", "32"]
WORDS += ["--data_dir", "pictures", "--checkpoint-every", "2", "--val-every", "3"]
WORDS += ["--device", "cpu", "--quiet", "--out", "run"]
MEASURED = {"t", "tempC", "J_step", "J_source", "J_window_s", "J_window_steps", "J_idle_share"}


def stage() -> int:
    """Run the command with a small model, and go on where there is something to go on with."""
    from geobasin.__main__ import main

    stage4.build_vit = little_vit
    if Path("run", MANIFEST).exists():
        return 0
    if Path("run", LOG).exists():
        return main([*WORDS, "--resume"])
    for leftover in Path("run").glob(".*"):
        leftover.unlink()
    return main(WORDS)


def kept(place: Workplace) -> dict[str, Any]:
    """All that a run leaves, but for times, temperatures and joules."""
    folder = place.folder / "run"
    assert verify(folder) == []
    run = load_stage(folder)
    names = ("steps", "stopped", "loss_last_tenth", "val_loss", "val_acc", "mean")
    return {
        "files": sorted(path.name for path in folder.iterdir()),
        "weights": (folder / WEIGHTS).read_bytes(),
        "log": [
            {name: value for name, value in asdict(record).items() if name not in MEASURED}
            for record in run.records
        ],
        "summary": {name: run.summary[name] for name in names},
    }


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], Workplace]:
    """Makes working folders with images in them."""

    def make(name: str) -> Workplace:
        place = Workplace(tmp_path / name)
        generator = np.random.default_rng(0)
        for folder in ("train/a", "train/b", "val/a", "val/b"):
            (place.folder / "pictures" / folder).mkdir(parents=True)
            for number in range(3):
                pixels = generator.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(place.folder / "pictures" / folder / f"{number}.png")
        return place

    return make


def undisturbed(place: Workplace, *preparations: Callable[[], object]) -> Workplace:
    ended = place.do(stage, *preparations)
    assert ended.code == 0, ended.err
    return place


def goes_on_as_if_nothing_happened(place: Workplace, whole: dict[str, Any]) -> None:
    found = kept(undisturbed(place))
    for part, value in whole.items():
        assert found[part] == value, part


@pytest.mark.fault("stage4", "SIGKILL at a random time, then --resume", times=2, campaign=20)
def test_killed_at_random_times(fault, start: Callable[[str], Workplace]) -> None:
    draw = random.Random(0)
    whole = kept(undisturbed(start("whole")))
    # The first process had to wait until torch was loaded.
    began = time.perf_counter()
    undisturbed(start("again"))
    longest = time.perf_counter() - began
    for number in fault.tries():
        with fault:
            place = start(str(number))
            running = place.begin(stage)
            while running.ended(within=draw.uniform(0, longest)) is not None:
                # A run that was faster than its killer is tried once more.
                place = start(f"{place.folder.name}-again")
                running = place.begin(stage)
            running.kill()
            goes_on_as_if_nothing_happened(place, whole)


@pytest.mark.fault("stage4", "SIGKILL at a change of a file, then --resume", times=2, campaign=40)
def test_killed_between_changes_of_a_file(fault, start: Callable[[str], Workplace]) -> None:
    place = start("whole")
    counted = place.folder / "count"
    whole = kept(undisturbed(place, partial(count_changes, place.folder / "run", counted)))
    changes = counted.stat().st_size
    for number in fault.tries():
        with fault:
            place = start(str(number))
            moment = 1 + number * (changes - 1) // (fault.times - 1)
            die = partial(die_at_change, place.folder / "run", moment)
            assert place.do(stage, die).code == -signal.SIGKILL
            goes_on_as_if_nothing_happened(place, whole)
