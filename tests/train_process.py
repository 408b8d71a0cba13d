"""One of two processes under torchrun: the command, then a run that breaks off and goes on."""

import sys
from pathlib import Path

import pytest
import torch

from geobasin.__main__ import main
from geobasin.config import TrainConfig
from geobasin.distributed import Group, process_group
from geobasin.errors import GeoBasinError
from geobasin.evaluation import Evaluation, evaluate
from geobasin.features import FeatureSet, synthetic
from geobasin.runs import train_run
from geobasin.train import Training

# Neither batches nor validation rows can be shared evenly, and the last batch is one row.
CONFIG = TrainConfig(k=3, scales=(8, 16), epochs=3, batch=13, levels=2, seed=5)


def rows() -> FeatureSet:
    """A hundred and eighteen training rows: nine batches of thirteen and one row."""
    whole = synthetic(classes=4, feature_dim=8, rows_per_class=60)
    train = type(whole.train)(whole.train.features[:118], whole.train.labels[:118])
    return FeatureSet("synthetic", train, whole.val, whole.test, whole.class_names)


def broken_off(out: Path, group: Group) -> None:
    """Train until the second epoch is written; then the writing process fails."""

    def fail(_: Path, epoch: int) -> None:
        if epoch == 2:
            raise GeoBasinError("the power went")

    word = "the power went" if group.is_main else "process 0 stopped"
    with pytest.raises(GeoBasinError, match=word):
        train_run(rows(), CONFIG, out, source="memory", on_epoch=fail, group=group)


def counted(group: Group) -> Evaluation:
    """What an untrained model gets right."""
    return evaluate(Training.start(rows(), CONFIG).model, rows().val, group)


def live(out: Path) -> None:
    """Do what both processes do."""
    torch.set_num_threads(1)
    with process_group() as group:
        whole = train_run(rows(), CONFIG, out / "whole", source="memory", group=group)
        broken_off(out / "resumed", group)
        resumed = train_run(
            rows(), CONFIG, out / "resumed", source="memory", resume=True, group=group
        )
        told = (whole.relative_to(out), resumed.relative_to(out), counted(group))
        (out / f"{group.rank}.txt").write_text(repr(told))


def command(out: Path) -> None:
    """Give the command as a user would, in processes of its own: a process joins one group."""
    words = "train --features synthetic --k 3 --scales 8,16 --epochs 1 --batch 500 --levels 2"
    assert main([*words.split(), "--out", str(out / "command")]) == 0


if __name__ == "__main__":
    {"live": live, "command": command}[sys.argv[1]](Path(sys.argv[2]))
