"""Extraction into shards: the same rows as in one file, and the same bytes after any kill."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geobasin.errors import GeoBasinError
from geobasin.extract import extract
from geobasin.features import load_features
from geobasin.fractals import FractalImages
from geobasin.seal import verify

TINY = "test_vit"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fractal images of three classes as PNG files."""
    directory = tmp_path_factory.mktemp("extraction") / "fractals"
    for split, count in (("train", 21), ("val", 6)):
        for index, (image, label) in enumerate(FractalImages(count, 32, 0, split, classes=3)):
            path = directory / split / f"class-{label}" / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return directory


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished folder of shards."""
    return sharded(images, tmp_path_factory.mktemp("whole") / "shards")


def sharded(images: Path, out: Path, **changed: object) -> Path:
    settings = {"pretrained": False, "batch": 2, "image_size": 32, "shard_rows": 5}
    return extract(images, TINY, out, **(settings | changed))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_shards_hold_the_rows_of_the_single_file_with_the_classes_mixed(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    single = extract(
        images, TINY, tmp_path / "f.safetensors", pretrained=False, batch=1, image_size=32
    )
    kept, read = load_features(str(single)), load_features(str(whole))
    assert read.class_names == kept.class_names
    torch.testing.assert_close(read.val.features, kept.val.features, atol=1e-5, rtol=1e-5)
    assert torch.equal(read.val.labels, kept.val.labels)
    # Every training row is there once: its nearest row of the other file is another each time.
    nearest = torch.cdist(read.train.features, kept.train.features).argmin(1)
    assert sorted(nearest.tolist()) == list(range(21))
    torch.testing.assert_close(
        read.train.features, kept.train.features[nearest], atol=1e-5, rtol=1e-5
    )
    assert torch.equal(read.train.labels, kept.train.labels[nearest])
    assert kept.train.labels.diff().min() >= 0
    assert int((read.train.labels.diff() < 0).sum()) > 4


def test_the_folder_tells_what_it_is_and_is_sealed(whole: Path) -> None:
    names = [f"train-{number:06}.safetensors" for number in range(5)]
    names += [f"val-{number:06}.safetensors" for number in range(2)]
    assert sorted(contents(whole)) == sorted([*names, "SHA512SUMS", "extraction.json"])
    assert verify(whole) == []
    plan = json.loads((whole / "extraction.json").read_text())
    assert list(plan["shards"].values()) == [5, 5, 5, 5, 1, 5, 1]
    assert (plan["encoder"], plan["dtype"], plan["device"]) == (TINY, "float32", "cpu")
    with safe_open(whole / names[0], framework="pt") as shard:
        assert json.loads(shard.metadata()["class_names"]) == ["class-0", "class-1", "class-2"]


def test_what_is_finished_is_not_done_again(images: Path, whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    sharded(images, whole)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_half_precision_is_the_rounded_features(images: Path, whole: Path, tmp_path: Path) -> None:
    half = sharded(images, tmp_path / "half", precision="float16")
    name = "train-000002.safetensors"
    stored, full = load_file(half / name), load_file(whole / name)
    assert torch.equal(stored["train.features"], full["train.features"].half())


_KILLED = """
import os, signal, sys
from functools import partial
from pathlib import Path
import timm, torch
from geobasin.extract import extract

images, calm, wild = map(Path, sys.argv[1:])
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def die_at(number):
    left = number
    def hook(event, arguments):
        nonlocal left
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if writes or event in ("os.rename", "os.remove", "os.chmod", "os.mkdir"):
            if str(arguments[0]).startswith(str(wild)):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

def work(out, deadly):
    child = os.fork()
    if child == 0:
        if deadly:
            die_at(deadly)
        torch.set_num_threads(1)
        extract(images, "test_vit", out, pretrained=False, batch=2, image_size=32, shard_rows=5)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert work(calm, 0) == 0
kills, deadly = 0, 1
while (code := work(wild, deadly)) != 0:
    assert code == -signal.SIGKILL, code
    kills, deadly = kills + 1, deadly + 5
print(kills)
"""


def test_killed_at_any_change_of_a_file_it_goes_on_to_the_same_bytes(
    images: Path, tmp_path: Path
) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(images), str(calm), str(wild)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4
    assert contents(wild) == contents(calm)
    assert verify(wild) == []


def test_only_whole_shards_of_this_extraction_are_kept(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    for name, content in contents(whole).items():
        (folder / name).write_bytes(content)
    (folder / "SHA512SUMS").unlink()
    with pytest.raises(GeoBasinError, match="is not finished"):
        load_features(str(folder))
    (folder / "train-000001.safetensors").unlink()
    torn = folder / "train-000002.safetensors"
    torn.write_bytes(torn.read_bytes()[:-9])
    foreign = load_file(folder / "val-000000.safetensors")
    save_file(foreign, folder / "val-000000.safetensors", metadata={"extraction": "another"})
    (folder / ".train-000001.safetensors.abc.part").write_bytes(b"half of it")
    sharded(images, folder)
    assert contents(folder) == contents(whole)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"batch": 3}, "other images or settings"),
        ({"shard_rows": 6}, "other images or settings"),
        ({"precision": "float16"}, "other images or settings"),
        ({"shard_rows": 0}, "at least 1 row"),
        ({"precision": "float8"}, "choose float32 or float16"),
    ],
)
def test_a_folder_of_another_extraction_is_left_alone(
    images: Path, whole: Path, changed: dict[str, object], words: str
) -> None:
    before = contents(whole)
    with pytest.raises(GeoBasinError, match=words):
        sharded(images, whole, **changed)
    assert contents(whole) == before


def test_a_folder_of_other_files_or_altered_shards_is_refused(
    images: Path, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("dear")
    with pytest.raises(GeoBasinError, match="holds other files"):
        sharded(images, tmp_path / "letters")
    folder = tmp_path / "altered"
    folder.mkdir()
    for name, content in contents(whole).items():
        (folder / name).write_bytes(content)
    path = folder / "val-000001.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(GeoBasinError, match=r"val-000001\.safetensors: altered"):
        sharded(images, folder)
    with pytest.raises(GeoBasinError, match="give at least 1 row and a folder"):
        sharded(images, tmp_path / "f.safetensors")
