"""A ladder that is killed, and the same command again: the same predictions, under one seal."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from processes import Workplace, count_changes, die_at_change

from geobasin.features import synthetic
from geobasin.ladder_folder import read_ladder
from geobasin.seal import MANIFEST

WORDS = ["ladder", "--features", "f.safetensors", "--seeds", "1", "--device", "cpu"]
WORDS += ["--method", "nearest class mean", "--method", "linear discriminant", "--out", "ladder"]


def kept(place: Workplace) -> dict[str, Any]:
    """All that a ladder leaves, but for durations and joules."""
    folder = place.folder / "ladder"
    result = read_ladder(folder)
    return {
        "files": sorted(path.name for path in folder.rglob("*")),
        "labels": result.labels.tolist(),
        "outcomes": [
            (outcome.name, outcome.setting, outcome.accuracy, outcome.predictions.tolist())
            for outcome in result.outcomes
        ],
    }


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], Workplace]:
    """Makes working folders with features in them."""

    def make(name: str) -> Workplace:
        place = Workplace(tmp_path / name)
        place.folder.mkdir()
        synthetic(classes=3, feature_dim=6, rows_per_class=20).save(place.folder / "f.safetensors")
        return place

    return make


@pytest.mark.fault("ladder", "SIGKILL at a change of a file, then again", times=3, campaign=40)
def test_killed_between_changes_of_a_file(fault, start: Callable[[str], Workplace]) -> None:
    place = start("whole")
    counted = place.folder / "count"
    command = place.command(*WORDS)
    ended = place.do(command, partial(count_changes, place.folder / "ladder", counted))
    assert ended.code == 0, ended.err
    whole, changes = kept(place), counted.stat().st_size
    for number in fault.tries():
        with fault:
            place = start(str(number))
            moment = 1 + number * (changes - 1) // (fault.times - 1)
            die = partial(die_at_change, place.folder / "ladder", moment)
            assert place.do(command, die).code == -signal.SIGKILL
            if not (place.folder / "ladder" / MANIFEST).exists():
                ended = place.do(command)
                assert ended.code == 0, ended.err
            assert kept(place) == whole
