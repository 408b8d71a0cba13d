"""Whatever a file holds, a reader gives what is in it or says in one line why not."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from geobasin.checkpoint import load_checkpoint, save_checkpoint
from geobasin.config import TrainConfig
from geobasin.contest import Method
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.features import load_features, synthetic
from geobasin.files import canonical_json, read_json
from geobasin.images import load_images
from geobasin.ladder import contenders
from geobasin.ladder_folder import read_ladder, write_ladder
from geobasin.runs import load_run, train_run
from geobasin.seal import MANIFEST, seal, verify
from geobasin.stage4 import load_stage
from geobasin.telemetry import StepRecord, TelemetryLog, read_log
from geobasin.tensors import content_digest, read_tensors
from geobasin.train import Training

CONFIG = TrainConfig(k=2, scales=(4,), epochs=2, batch=64, levels=1)

# Small numbers, and those so large that no machine would begin with them.
numbers = st.integers(-3, 12) | st.sampled_from([2**31, 2**63, 10**30, -(10**30)])
scalars = st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    scalars | st.text(max_size=5) | st.sampled_from(["..", "/", "../../x", "\x00"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def splices(good: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with one bit flipped, or with a piece of them replaced, cut off or doubled."""
    spots = st.integers(0, len(good))
    patches = st.binary(max_size=16) | spots.map(lambda end: good[:end])

    def flipped(bit: int) -> bytes:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        return bytes(bad)

    def replaced(one: int, other: int, patch: bytes) -> bytes:
        return good[: min(one, other)] + patch + good[max(one, other) :]

    bits = st.integers(0, 8 * len(good) - 1)
    return bits.map(flipped) | st.builds(replaced, spots, spots, patches)


def places(document: Any) -> list[tuple[Any, ...]]:
    """The path of every value in a document, the document's own first."""
    found: list[tuple[Any, ...]] = [()]
    if isinstance(document, dict | list):
        inner = document.items() if isinstance(document, dict) else enumerate(document)
        found += [(key, *path) for key, value in inner for path in places(value)]
    return found


def variants(good: Any) -> st.SearchStrategy[Any]:
    """The document with one value in it replaced by another."""

    def replaced(place: tuple[Any, ...], value: Any) -> Any:
        if not place:
            return value
        copy = json.loads(json.dumps(good))
        inner = copy
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        return copy

    return st.builds(replaced, st.sampled_from(places(good)), documents)


def reads(reader: Callable[[], object]) -> bool:
    """Whether a reader reads; only our own error in one line may be why not."""
    told: str | None = None
    try:
        reader()
    except GeoBasinError as error:
        told = str(error)
    assert told is None or (told and "\n" not in told)
    return told is None


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return synthetic(classes=3, feature_dim=5, rows_per_class=6)


@pytest.fixture
def run(features: FeatureSet, tmp_path: Path) -> Path:
    return train_run(features, CONFIG, tmp_path / "out", source="memory")


@pytest.mark.fault("a checkpoint", "damaged bytes", times=80, campaign=1_000)
def test_a_damaged_checkpoint_is_never_gone_on_with(
    fault, features: FeatureSet, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    training = Training.start(features, CONFIG)
    training.run_epoch()
    save_checkpoint(training, path)
    good, before = path.read_bytes(), read_tensors(path)[1]

    def damaged(data: bytes) -> None:
        path.write_bytes(data)
        if reads(lambda: load_checkpoint(training, path)):
            # What differs may be no more than the space in the header.
            assert read_tensors(path)[1] == before

    fault.examples(splices(good), damaged)


@pytest.mark.fault("a checkpoint", "hostile words, rightly digested", times=80, campaign=1_000)
def test_a_hostile_checkpoint_is_refused(fault, features: FeatureSet, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    training = Training.start(features, CONFIG)
    training.run_epoch()
    save_checkpoint(training, path)
    tensors, words = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}

    def hostile(document: Any) -> None:
        text = canonical_json(document)
        digest = content_digest(tensors, text)
        save_file(tensors, path, metadata={"training": text, "sha512": digest})
        reads(lambda: load_checkpoint(training, path))

    fault.examples(variants(json.loads(words["training"])), hostile)


@pytest.mark.fault("a feature file", "damaged bytes", times=100, campaign=1_000)
def test_damaged_features_are_refused_or_read(fault, features: FeatureSet, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    features.save(path)

    def damaged(data: bytes) -> None:
        path.write_bytes(data)
        reads(lambda: load_features(str(path)))

    fault.examples(splices(path.read_bytes()), damaged)


@pytest.mark.fault("a run's folder", "hostile JSON", times=80, campaign=1_000)
def test_a_run_with_hostile_records_is_refused_or_read(fault, run: Path) -> None:
    files = [path for path in run.iterdir() if path.suffix == ".json"]
    good = {path: read_json(path) for path in files}
    mutations = st.sampled_from(files).flatmap(
        lambda path: st.tuples(st.just(path), variants(good[path]))
    )

    def hostile(mutation: tuple[Path, Any]) -> None:
        path, document = mutation
        path.write_text(canonical_json(document))
        try:
            reads(lambda: load_run(run))
        finally:
            path.write_text(canonical_json(good[path]))

    fault.examples(mutations, hostile)


@pytest.mark.fault("a run's folder", "damaged weights", times=60, campaign=500)
def test_a_run_with_damaged_weights_is_refused_or_read(fault, run: Path) -> None:
    weights = next(run.glob("*.safetensors"))

    def damaged(data: bytes) -> None:
        weights.write_bytes(data)
        reads(lambda: load_run(run))

    fault.examples(splices(weights.read_bytes()), damaged)


@pytest.mark.fault("a ladder's folder", "hostile JSON, sealed", times=60, campaign=500)
def test_a_sealed_but_hostile_ladder_is_refused_or_read(
    fault, features: FeatureSet, tmp_path: Path
) -> None:
    folder = tmp_path / "ladder"
    simple: list[Method] = [m for m in contenders(CONFIG) if m.name == "nearest class mean"]
    write_ladder(features, folder, seeds=1, config=CONFIG, methods=simple)
    good = read_json(folder / "config.json")

    def hostile(document: Any) -> None:
        (folder / "config.json").write_text(canonical_json(document))
        seal(folder)
        reads(lambda: read_ladder(folder))

    fault.examples(variants(good), hostile)


def write_log(path: Path) -> None:
    with TelemetryLog.create(path, {"config": {"mode": "RFT"}}) as log:
        for step in (1, 2, 3):
            log.write(StepRecord("RFT", step, 0.5, 0.1, 1.0, 0.2, 1.5, 0.5, None, None, step / 10))


@pytest.mark.fault("a log", "damaged bytes", times=80, campaign=1_000)
def test_a_damaged_log_is_refused_or_read(fault, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write_log(path)

    def damaged(data: bytes) -> None:
        path.write_bytes(data)
        reads(lambda: read_log(path))
        # To go on with a log may cut its torn line, and nothing else.
        if reads(lambda: TelemetryLog.resume(path).close()):
            assert data.startswith(path.read_bytes().rstrip(b"\n"))

    fault.examples(splices(path.read_bytes()), damaged)


@pytest.mark.fault("a stage-4 folder", "hostile JSON, sealed", times=60, campaign=500)
def test_a_sealed_but_hostile_stage_is_refused_or_read(fault, tmp_path: Path) -> None:
    write_log(tmp_path / "stage4_vit_tiny.jsonl")
    summary = {"mode": "RFT", "steps": 3, "stopped": None, "mean": {"coh": 0.2}}

    def hostile(document: Any) -> None:
        (tmp_path / "summary.json").write_text(canonical_json(document))
        seal(tmp_path)
        reads(lambda: load_stage(tmp_path))

    fault.examples(variants(summary), hostile)


@pytest.mark.fault("a manifest", "any bytes at all", times=200, campaign=1_000)
def test_no_manifest_makes_verify_fall(fault, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    good = seal(tmp_path).read_bytes()

    def damaged(data: bytes) -> None:
        (tmp_path / MANIFEST).write_bytes(data)
        assert bool(verify(tmp_path)) == (data != good)

    fault.examples(splices(good) | st.binary(max_size=300), damaged)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes of JPEG images in train and val."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3)).astype(np.uint8)
    for place in ("train/a", "train/b", "val/a", "val/b"):
        folder = tmp_path / "pictures" / place
        folder.mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "0.jpg")
    return tmp_path / "pictures"


def look_at_all(folder: Path) -> None:
    sets = load_images(folder, 32, 0)
    for images in (sets.train, sets.val):
        for index in range(len(images)):
            assert images[index][0].shape == (3, 32, 32)


@pytest.mark.fault("a folder of images", "a damaged JPEG", times=100, campaign=1_000)
def test_a_damaged_image_is_refused_or_read(fault, pictures: Path) -> None:
    path = pictures / "train" / "a" / "0.jpg"

    def damaged(data: bytes) -> None:
        path.write_bytes(data)
        reads(lambda: look_at_all(pictures))

    fault.examples(splices(path.read_bytes()), damaged)


def _text_as_image(folder: Path) -> None:
    (folder / "train/a/1.png").write_text("not an image")


def _jpeg_as_png(folder: Path) -> None:
    shutil.copy(folder / "train/a/0.jpg", folder / "train/a/1.png")


def _other_ending(folder: Path) -> None:
    (folder / "train/a/0.jpg").rename(folder / "train/a/0.txt")


def _loop(folder: Path) -> None:
    (folder / "train/a/loop").symlink_to(folder / "train")


def _loop_of_one(folder: Path) -> None:
    (folder / "train/a/1.jpg").symlink_to("1.jpg")


def _dangling(folder: Path) -> None:
    (folder / "train/a/1.jpg").symlink_to("nowhere.jpg")


def _folder_as_image(folder: Path) -> None:
    (folder / "train/a/1.jpg").mkdir()


def _pipe_as_class(folder: Path) -> None:
    os.mkfifo(folder / "train/c")


def _loop_as_split(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    (folder / "val").symlink_to("val")


def _odd_names(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / split / "b").rename(folder / split / os.fsdecode(b"\xff\n b"))


def _empty(folder: Path) -> None:
    (folder / "train/a/0.jpg").write_bytes(b"")


ODD = (
    _text_as_image,
    _jpeg_as_png,
    _other_ending,
    _loop,
    _loop_of_one,
    _dangling,
    _folder_as_image,
    _pipe_as_class,
    _loop_as_split,
    _odd_names,
    _empty,
)


@pytest.mark.fault("a folder of images", "links in a circle and the like", times=11, campaign=11)
def test_an_odd_folder_of_images_is_refused_or_read(fault, pictures: Path, tmp_path: Path) -> None:
    assert fault.times == len(ODD)
    for number in fault.tries():
        with fault:
            copy = tmp_path / str(number)
            shutil.copytree(pictures, copy)
            ODD[number](copy)
            reads(partial(look_at_all, copy))
