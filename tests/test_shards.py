"""Folders of shards: joined, left on disk where they are large, refused where they do not fit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from geobasin.__main__ import main
from geobasin.checkpoint import load_checkpoint, save_checkpoint
from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.feature_set import FeatureSet
from geobasin.features import load_features, synthetic
from geobasin.shards import write_shards
from geobasin.stored import StoredSplit
from geobasin.survey import survey
from geobasin.train import Training

FEATURES = synthetic(classes=5, feature_dim=6, rows_per_class=40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(FEATURES, tmp_path / "shards", rows=33)
    return tmp_path / "shards"


def test_what_is_written_in_shards_is_read_as_it_was(folder: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names[:2] == ["test-000000.safetensors", "test-000001.safetensors"]
    assert len([name for name in names if name.startswith("train")]) == 7
    loaded = load_features(str(folder))
    assert loaded.digest() == FEATURES.digest()
    assert loaded.class_names == FEATURES.class_names
    assert loaded.origin == {}


def test_a_large_store_stays_on_disk_with_the_same_record(folder: Path) -> None:
    kept = load_features(str(folder), memory=1000)
    assert all(isinstance(split, StoredSplit) for split in kept.splits().values())
    stored = kept.describe("here")
    order = stored.pop("read_from_disk")
    assert order == {"block_rows": 2**16 // 24, "window_rows": 2**27 // 24 // 2730 * 2730}
    assert stored == load_features(str(folder)).describe("here")
    assert torch.equal(kept.test.features, FEATURES.test.features)
    device = torch.device("cpu")
    assert kept.to(device).describe("here")["sha512"] == stored["sha512"]


def test_half_precision_shards_hold_the_rounded_rows(tmp_path: Path) -> None:
    write_shards(FEATURES, tmp_path / "half", rows=50, dtype=torch.float16)
    loaded = load_features(str(tmp_path / "half"), memory=0)
    assert torch.equal(loaded.train.features, FEATURES.train.features.half().float())


@pytest.mark.parametrize(
    ("rows", "inside", "words"), [(0, False, "at least 1"), (5, True, "other files")]
)
def test_shards_are_not_written_among_other_files(
    tmp_path: Path, rows: int, inside: bool, words: str
) -> None:
    if inside:
        (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(GeoBasinError, match=words):
        write_shards(FEATURES, tmp_path, rows=rows)


def spoil(folder: Path, **changed: torch.Tensor) -> None:
    path = folder / "train-000003.safetensors"
    content = {"features": FEATURES.train.features[:4].clone(), "labels": torch.arange(4)}
    content |= changed
    save_file({f"train.{name}": value for name, value in content.items()}, path)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"features": torch.ones(4, 7)}, "7 wide, the rows before it are 6"),
        ({"features": torch.ones(4, 0)}, "0 wide"),
        ({"features": torch.ones(5, 6)}, "do not fit"),
        ({"features": torch.ones(4, 6, dtype=torch.int32)}, "give floats"),
        ({"labels": torch.ones(4)}, "give integers"),
        ({"labels": torch.tensor([0, 1, -1, 2])}, "negative"),
        ({"labels": torch.tensor([0, 1, 2**62, 2])}, "number the classes from 0"),
        ({"labels": torch.tensor([2**64 - 1] * 4, dtype=torch.uint64)}, "negative"),
        ({"features": torch.full((4, 6), 70000.0).double() ** 9}, "NaN or infinity"),
        ({"features": torch.full((4, 6), float("nan"))}, "first in row 99"),
    ],
)
@pytest.mark.parametrize("memory", [0, 2**31])
def test_a_shard_that_does_not_fit_is_named(
    folder: Path, changed: dict[str, torch.Tensor], words: str, memory: int
) -> None:
    spoil(folder, **changed)
    with pytest.raises(GeoBasinError, match=words) as caught:
        load_features(str(folder), memory=memory)
    assert "\n" not in str(caught.value)


def test_shards_must_agree_on_the_names_of_the_classes(folder: Path) -> None:
    part = {"train.features": torch.ones(2, 6), "train.labels": torch.tensor([0, 1])}
    save_file(part, folder / "zz.safetensors", {"class_names": json.dumps(list("abcdef"))})
    with pytest.raises(GeoBasinError, match="other class_names"):
        load_features(str(folder))


@pytest.mark.parametrize("plan", ["{}", "[]", '{"shards": {"train-000000.safetensors": 33}}', "{"])
def test_an_extraction_without_its_seal_is_not_trained_on(folder: Path, plan: str) -> None:
    (folder / "extraction.json").write_text(plan)
    with pytest.raises(GeoBasinError, match=r"not finished|lists no shards|not strict JSON"):
        load_features(str(folder))


@pytest.mark.parametrize("name", ["\0", "a" * 5000, "no/such/place", "/dev/null/x"])
def test_paths_that_lead_nowhere(name: str) -> None:
    with pytest.raises(GeoBasinError) as caught:
        load_features(name)
    assert "\n" not in str(caught.value)


def on_disk() -> FeatureSet:
    """The same rows in blocks of four and windows of sixteen, as if they were many."""
    splits = {
        name: StoredSplit(
            split.features.split(30), split.labels, block_bytes=4 * 24, window_bytes=16 * 24
        )
        for name, split in FEATURES.splits().items()
    }
    found = survey(splits)
    return replace(FEATURES, **splits, surveyed=found)


def test_training_from_disk_goes_on_exactly_where_it_stopped(tmp_path: Path) -> None:
    config = TrainConfig(scales=(8,), k=2, epochs=3, batch=24, seed=4)
    whole = Training.start(on_disk(), config)
    whole.run_epoch()
    save_checkpoint(whole, tmp_path / "after-one")
    list(whole.remaining())
    again = Training.start(on_disk(), config)
    load_checkpoint(again, tmp_path / "after-one")
    list(again.remaining())
    assert len(again.history) == 3
    for name, value in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    assert again.history[-1].terms == whole.history[-1].terms


def test_from_disk_a_model_starts_is_scored_and_learns_as_from_memory() -> None:
    config = TrainConfig(scales=(8,), k=2, epochs=3, batch=24)
    disk, memory = Training.start(on_disk(), config), Training.start(FEATURES, config)
    for name, value in memory.model.state_dict().items():
        assert torch.equal(disk.model.state_dict()[name], value), name
    start = evaluate(memory.model, FEATURES.val)
    assert evaluate(disk.model, on_disk().val) == start
    for training in (disk, memory):
        records = list(training.remaining())
        assert records[-1].terms["total"] < records[0].terms["total"]


def test_the_command_reads_large_shards_from_disk_and_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--features", str(folder), "--memory-gib", "0", "--device", "cpu"]
    words += ["--scales", "8", "--k", "2", "--epochs", "1", "--out", str(tmp_path)]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "features: too large for memory, read from disk by blocks" in told.err
    record = json.loads((Path(told.out.strip()) / "train_config.json").read_text())["features"]
    assert record == load_features(str(folder), memory=0).describe(str(folder))
    assert main([*words[:4], "nan", *words[5:]]) == 2
    assert "--memory-gib is nan" in capsys.readouterr().err
