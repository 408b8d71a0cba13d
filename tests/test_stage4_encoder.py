"""A run of the stage is an encoder: what its classifier read is what is extracted."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from geobasin import extract as command
from geobasin.baselines import METHODS
from geobasin.errors import GeoBasinError
from geobasin.extract import extract
from geobasin.features import load_features
from geobasin.image_folder import FolderImages
from geobasin.images import normalise
from geobasin.ladder import ladder
from geobasin.seal import seal
from geobasin.stage4 import LOG, WEIGHTS, StageConfig, load_stage, run_stage
from geobasin.stage4_model import build_vit
from geobasin.stage4_objective import with_head
from geobasin.tensors import load_weights

CPU = torch.device("cpu")
HEADS = ("linear", "basin")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes, three images each to train on and two to judge by, none of them square."""
    root = tmp_path_factory.mktemp("data") / "animals"
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("ant", "bee", "cat", "dog", "eel")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 128, (50 + number, 40, 3)) + 30 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def runs(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each head on the classes at even places."""
    root = tmp_path_factory.mktemp("runs")
    for head in HEADS:
        config = StageConfig(mode="BASE", steps=2, batch=4, image_size=32, head=head)
        run_stage(config, root / head, images, CPU, quiet=True, classes="0::2")
    return {head: root / head for head in HEADS}


@pytest.fixture
def copied(runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run's folder to spoil."""
    return Path(shutil.copytree(runs["linear"], tmp_path / "copied"))


@pytest.mark.parametrize("head", HEADS)
def test_features_are_what_the_classifier_of_the_run_reads(
    head: str, images: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    out = extract(images, str(runs[head]), tmp_path / "f.safetensors", classes="1::2", batch=4)
    tensors = load_file(out)
    model: Any = with_head(head, build_vit(32, 3, 0), 3, 0)
    model.load_state_dict(load_weights(runs[head] / WEIGHTS))
    read = []
    model.head.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    model.eval()
    for split in ("train", "val"):
        whole = FolderImages(images, split, 32)
        odd = [row for row, label in enumerate(whole.labels.tolist()) if label in (1, 3)]
        read.clear()
        with torch.no_grad():
            for row in odd:
                model(normalise(whole[row][0][None]))
        features = tensors[f"{split}.features"]
        assert features.shape == (len(odd), 192)
        torch.testing.assert_close(features, torch.cat(read), atol=1e-5, rtol=1e-5)
        assert tensors[f"{split}.labels"].tolist() == sorted([0, 1] * (len(odd) // 2))


def test_the_metadata_names_the_run_by_its_weights_and_not_by_its_place(
    images: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    out = extract(images, str(runs["basin"]), tmp_path / "f.safetensors", classes="1::2")
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    assert metadata == {
        "name": "animals",
        "class_names": json.dumps(["bee", "dog"]),
        "class_slice": "1::2",
        "encoder": "vit_tiny_patch16_224, stage4 run basin",
        "weights_sha512": load_stage(runs["basin"]).summary["weights_sha512"],
        "pretrained": "true",
        "image_size": "32",
    }
    assert load_features(str(out)).class_names == ("bee", "dog")


def test_the_ladder_takes_what_was_extracted_and_reports_on_val(
    images: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    out = extract(images, str(runs["linear"]), tmp_path / "f.safetensors", classes="1::2")
    result = ladder(load_features(str(out)), seeds=1, methods=METHODS[:1])
    assert (result.split, result.labels.tolist()) == ("val", [0, 0, 1, 1])


def test_shards_of_another_choice_or_run_are_not_gone_on_with(
    images: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    def shards(head: str, classes: str | None) -> Path:
        return extract(images, str(runs[head]), tmp_path / "f", classes=classes, shard_rows=2)

    rows = load_features(str(shards("linear", "1::2")))
    single = load_file(
        extract(images, str(runs["linear"]), tmp_path / "f.safetensors", classes="1::2")
    )
    torch.testing.assert_close(rows.val.features, single["val.features"], atol=1e-5, rtol=1e-5)
    plan = json.loads((tmp_path / "f/extraction.json").read_text())
    assert plan["class_slice"] == "1::2"
    for head, classes in (("linear", "0::2"), ("linear", None), ("linear", "1:4:2")):
        with pytest.raises(GeoBasinError, match="other images or settings"):
            shards(head, classes)
    with pytest.raises(GeoBasinError, match="other images or settings"):
        shards("basin", "1::2")
    shards("linear", "1::2")


def test_some_classes_through_timms_encoder_are_those_rows_of_all(
    images: Path, tmp_path: Path
) -> None:
    made = {"pretrained": False, "image_size": 32, "batch": 1}
    whole = load_file(extract(images, "test_vit", tmp_path / "1.safetensors", **made))
    some = load_file(extract(images, "test_vit", tmp_path / "2.safetensors", classes="3:", **made))
    for split in ("train", "val"):
        own = whole[f"{split}.labels"] >= 3
        assert torch.equal(some[f"{split}.features"], whole[f"{split}.features"][own])
        assert torch.equal(some[f"{split}.labels"], whole[f"{split}.labels"][own] - 3)


def refused(images: Path, run: Path, tmp_path: Path, **options: Any) -> str:
    out = tmp_path / "f.safetensors"
    with pytest.raises(GeoBasinError) as caught:
        extract(images, str(run), out, **options)
    assert not out.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_run_that_kept_no_weights_is_refused(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = StageConfig(mode="BASE", steps=1, batch=4, image_size=32)
    run_stage(config, run, images, CPU, quiet=True, keep_weights=False)
    assert "has no model.safetensors; train to the end, and without" in refused(
        images, run, tmp_path
    )


def test_random_weights_and_another_size_are_refused(
    images: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = runs["linear"]
    assert "leave --no-pretrained out" in refused(images, run, tmp_path, pretrained=False)
    assert "of 32 pixels, not 64" in refused(images, run, tmp_path, image_size=64)
    assert extract(images, str(run), tmp_path / "f.safetensors", image_size=32).exists()


def test_a_changed_run_is_refused(images: Path, copied: Path, tmp_path: Path) -> None:
    data = bytearray((copied / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (copied / WEIGHTS).write_bytes(data)
    assert "model.safetensors: altered" in refused(images, copied, tmp_path)
    seal(copied)
    assert "is not of this run" in refused(images, copied, tmp_path)


def test_an_unfinished_run_is_refused(images: Path, copied: Path, tmp_path: Path) -> None:
    (copied / "SHA512SUMS").unlink()
    assert "SHA512SUMS: missing" in refused(images, copied, tmp_path)


def test_a_run_of_something_else_is_refused(images: Path, copied: Path, tmp_path: Path) -> None:
    log = (copied / LOG).read_text()
    (copied / LOG).write_text(log.replace('"image_size": 32', '"image_sizes": 32'))
    assert log != (copied / LOG).read_text()
    seal(copied)
    assert "is no run of the stage" in refused(images, copied, tmp_path)


def test_weights_that_do_not_fit_are_refused(images: Path, copied: Path, tmp_path: Path) -> None:
    log = (copied / LOG).read_text()
    (copied / LOG).write_text(log.replace('"image_size": 32', '"image_size": 48'))
    seal(copied)
    assert "does not fit vit_tiny_patch16_224" in refused(images, copied, tmp_path)


def test_a_folder_that_is_no_run_and_a_name_too_long_are_no_encoders(
    images: Path, tmp_path: Path
) -> None:
    assert "finished run of stage4" in refused(images, tmp_path, tmp_path)
    assert "timm has no encoder" in refused(images, Path("a" * 300), tmp_path)


def test_command_line(
    images: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "f.safetensors"
    words = ["--images", str(images), "--encoder", str(runs["linear"]), "--out", str(out)]
    command.run(parser.parse_args([*words, "--classes", "1::2", "--device", "cpu"]))
    assert capsys.readouterr().out == f"{out}\n"
    assert len(load_file(out)["train.features"]) == 6
