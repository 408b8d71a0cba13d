"""Extraction with real encoders of timm: a tiny one, untrained or with weights of our own."""

import argparse
import json
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from geobasin import extract as command
from geobasin.errors import GeoBasinError
from geobasin.extract import DEFAULT_ENCODER, extract, load_encoder
from geobasin.features import load_features
from geobasin.fractals import FractalImages

TINY = "test_vit"
HUB_NAME = "models--timm--test_vit.r160_in1k"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fractal images of three classes as PNG files."""
    directory = tmp_path_factory.mktemp("extract") / "fractals"
    for split, count in (("train", 9), ("val", 6)):
        for index, (image, label) in enumerate(FractalImages(count, 40, 0, split, classes=3)):
            path = directory / split / f"class-{label}" / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return directory


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's own switch for machines without a network, and an empty cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def put_in_cache(hub: Path, name: str, commit: str = "0" * 40) -> Path:
    """A place in the hub's cache for one file of the tiny encoder."""
    folder = hub / HUB_NAME
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    return folder / "snapshots" / commit / name


def one_by_one(images: Path, split: str, network: torch.nn.Module) -> tuple[Tensor, list[int]]:
    """The features by the shortest way there is: open, prepare, encode, one image at a time."""
    settings = timm.data.resolve_model_data_config(network)
    prepare = timm.data.create_transform(**settings, is_training=False)
    rows, labels = [], []
    for label, folder in enumerate(sorted((images / split).iterdir())):
        for path in sorted(folder.iterdir()):
            with torch.no_grad(), Image.open(path) as image:
                rows.append(network.eval()(prepare(image.convert("RGB"))[None])[0])
            labels.append(label)
    return torch.stack(rows), labels


def test_features_are_those_of_the_encoder_one_image_at_a_time(
    images: Path, tmp_path: Path
) -> None:
    out = extract(images, TINY, tmp_path / "f.safetensors", pretrained=False, batch=4)
    tensors = load_file(out)
    assert sorted(tensors) == ["train.features", "train.labels", "val.features", "val.labels"]
    torch.manual_seed(0)
    network = timm.create_model(TINY, num_classes=0)
    for split in ("train", "val"):
        features, labels = one_by_one(images, split, network)
        assert tensors[f"{split}.features"].dtype == torch.float32
        torch.testing.assert_close(tensors[f"{split}.features"], features, atol=1e-4, rtol=1e-4)
        assert tensors[f"{split}.labels"].tolist() == labels
    with safe_open(out, framework="pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["class_names"]) == ["class-0", "class-1", "class-2"]
    assert metadata["encoder"] == TINY
    assert metadata["pretrained"] == "false"
    assert metadata["image_size"] == "160"


def test_what_is_written_can_be_trained_on(images: Path, tmp_path: Path) -> None:
    out = extract(images, TINY, tmp_path / "f.safetensors", pretrained=False)
    features = load_features(str(out))
    assert features.class_names == ("class-0", "class-1", "class-2")
    assert features.num_classes == 3
    assert features.test is None


def test_same_bytes_again_and_global_random_state_left_alone(images: Path, tmp_path: Path) -> None:
    first = extract(images, TINY, tmp_path / "1.safetensors", pretrained=False).read_bytes()
    torch.manual_seed(77)
    state = torch.get_rng_state()
    second = extract(images, TINY, tmp_path / "2.safetensors", pretrained=False).read_bytes()
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_size_of_a_batch_does_not_matter(images: Path, tmp_path: Path) -> None:
    one = load_file(extract(images, TINY, tmp_path / "1.safetensors", pretrained=False, batch=1))
    all_ = load_file(extract(images, TINY, tmp_path / "2.safetensors", pretrained=False, batch=99))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, all_[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("encoder", [TINY, "test_resnet"])
def test_other_image_size(images: Path, tmp_path: Path, encoder: str) -> None:
    out = extract(images, encoder, tmp_path / "f.safetensors", pretrained=False, image_size=64)
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["image_size"] == "64"
    prepare = load_encoder(encoder, pretrained=False, image_size=64).prepare
    assert prepare(Image.new("RGB", (90, 70))).shape == (3, 64, 64)


def test_test_split_is_taken_along(images: Path, tmp_path: Path) -> None:
    for split, source in (("train", "train"), ("val", "val"), ("test", "val")):
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / split).symlink_to(images / source)
    out = extract(tmp_path / "more", TINY, tmp_path / "f.safetensors", pretrained=False)
    tensors = load_file(out)
    assert torch.equal(tensors["test.features"], tensors["val.features"])
    assert torch.equal(tensors["test.labels"], tensors["val.labels"])


def test_trained_weights_come_from_the_hubs_cache(
    images: Path, tmp_path: Path, offline: Path
) -> None:
    torch.manual_seed(5)
    trained = timm.create_model(TINY)
    save_file(trained.state_dict(), put_in_cache(offline, "model.safetensors"))
    out = extract(images, TINY, tmp_path / "f.safetensors")
    features, _ = one_by_one(images, "val", trained.eval().reset_classifier(0) or trained)
    torch.testing.assert_close(load_file(out)["val.features"], features, atol=1e-4, rtol=1e-4)


def test_weights_that_would_have_to_be_unpickled_are_not_taken(
    images: Path, tmp_path: Path, offline: Path
) -> None:
    torch.save(timm.create_model(TINY).state_dict(), put_in_cache(offline, "pytorch_model.bin"))
    with pytest.raises(GeoBasinError, match="cannot load the trained weights"):
        extract(images, TINY, tmp_path / "f.safetensors")


def test_without_weights_one_line_says_so(images: Path, tmp_path: Path, offline: Path) -> None:
    with pytest.raises(GeoBasinError) as caught:
        extract(images, DEFAULT_ENCODER, tmp_path / "f.safetensors")
    message = str(caught.value)
    assert DEFAULT_ENCODER in message
    assert "--no-pretrained" in message
    assert "\n" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) in ([], ["hub"])


def test_unknown_encoder_names_close_ones(images: Path, tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="no encoder 'vit_tiny_patch16_22'; did you mean vit_"):
        extract(images, "vit_tiny_patch16_22", tmp_path / "f.safetensors")
    with pytest.raises(GeoBasinError, match="list_models"):
        extract(images, "?", tmp_path / "f.safetensors")


def test_encoder_without_weights_in_safetensors(images: Path, tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="has no trained weights as safetensors"):
        extract(images, "gcvit_tiny", tmp_path / "f.safetensors")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"out": Path("features.pt")}, "a .safetensors file, not features.pt"),
        ({"out": Path("/dev/null/f.safetensors")}, "cannot write /dev/null/f.safetensors"),
        ({"batch": 0}, "batch is 0"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not to be had"),
        ({"device": "toaster"}, "device 'toaster' is not to be had"),
        ({"image_size": 3}, "cannot run 'test_vit' on images of 3 pixels"),
        ({"image_size": 0}, "cannot run 'test_vit' on images of 0 pixels"),
        ({"images": Path("nowhere")}, "no folder nowhere/train"),
    ],
)
def test_bad_input(images: Path, tmp_path: Path, changed: dict[str, object], message: str) -> None:
    good = {"images": images, "encoder": TINY, "out": tmp_path / "f.safetensors"}
    with pytest.raises(GeoBasinError) as caught:
        extract(**{**good, "pretrained": False, **changed})  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_damaged_image_is_named_and_nothing_is_left_behind(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            path = tmp_path / "images" / split / name / "0.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (20, 20)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(GeoBasinError, match=r"cannot read image .*val/b/0\.png"):
        extract(tmp_path / "images", TINY, tmp_path / "f.safetensors", pretrained=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["images"]


def test_features_that_are_not_finite_are_refused(
    images: Path, tmp_path: Path, offline: Path
) -> None:
    weights = timm.create_model(TINY).state_dict()
    (last,) = {"norm.bias", "fc_norm.bias"} & weights.keys()
    weights[last] = torch.full_like(weights[last], float("nan"))
    save_file(weights, put_in_cache(offline, "model.safetensors"))
    with pytest.raises(GeoBasinError, match="NaN or infinite features"):
        extract(images, TINY, tmp_path / "f.safetensors")
    assert not (tmp_path / "f.safetensors").exists()


def test_command_line(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    out = tmp_path / "f.safetensors"
    words = ["--images", str(images), "--encoder", TINY, "--out", str(out), "--no-pretrained"]
    command.run(parser.parse_args([*words, "--batch", "5", "--image_size", "48"]))
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "train: 100%" in captured.err
    assert np.isfinite(load_file(out)["val.features"].numpy()).all()
    assert parser.parse_args(["--images", "a", "--out", "b"]).encoder == DEFAULT_ENCODER
