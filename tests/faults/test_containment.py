"""No write outside the run's folder, no connection, no pickle: watched in real processes."""

import json
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from processes import Workplace, watch
from safetensors.torch import save_file

from geobasin.runs import CHECKPOINT

SMALL = ["--k", "2", "--scales", "8", "--epochs", "1", "--levels", "1", "--device", "cpu"]
HOSTILE = [
    "../../escaped",
    "/escaped",
    "..",
    "a\\b",
    "CON",
    "$(touch escaped)",
    "\x1b[2J",
    "é" * 90,
]


def hostile_features(path: Path) -> None:
    """Features whose classes and whose set have names that would lead elsewhere."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4 * len(HOSTILE)) % len(HOSTILE)
    tensors = {}
    for split in ("train", "val"):
        rows = torch.randn(len(labels), 6, generator=generator)
        tensors |= {f"{split}.features": rows, f"{split}.labels": labels.clone()}
    metadata = {"class_names": json.dumps(HOSTILE), "name": "../../escaped", "encoder": "/escaped"}
    save_file(tensors, path, metadata=metadata)


def pictures(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    for split in ("train", "val"):
        for name in ("$(touch escaped)", "; touch escaped"):
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(pixels).save(folder / split / name / "0.png")


def everything() -> int:
    """Run every command once, each in the working folder."""
    from geobasin.__main__ import main

    features = ["--features", "....safetensors"]
    ladder = ["ladder", *features, "--seeds", "1", "--method", "nearest class mean"]
    stage = ["stage4", "--mode", "RFT", "--steps", "1", "--batch", "2", "--image_size", "32"]
    encode = ["extract", "--images", "pictures", "--encoder", "test_vit", "--no-pretrained"]
    codes = [
        main(["train", *features, *SMALL, "--out", "out"]),
        main(["probe", str(next(Path("out").glob("weights/*/*")))]),
        main([*ladder, "--device", "cpu", "--out", "ladder"]),
        main([*stage, "--data_dir", "pictures", "--out", "stage", "--quiet", "--device", "cpu"]),
        main([*encode, "--device", "cpu", "--out", "x.safetensors"]),
        main(["seal", "pictures"]),
        main(["verify", "pictures"]),
    ]
    return max(codes)


@pytest.mark.fault(
    "every command", "hostile names, watched for writes, sockets, pickles", times=1, campaign=3
)
def test_commands_stay_where_they_are_sent(fault, tmp_path: Path) -> None:
    for number in fault.tries():
        with fault:
            base = tmp_path / str(number)
            place = Workplace(base / "work")
            place.folder.mkdir(parents=True)
            hostile_features(place.folder / "....safetensors")
            pictures(place.folder / "pictures")
            notes = base / "notes"
            ended = place.do(everything, partial(watch, place.folder, notes))
            assert ended.code == 0, ended.err
            assert notes.read_text() == ""
            assert not list(base.rglob("escaped*"))
            assert sorted(path.name for path in base.iterdir()) == ["notes", "work"]


def disobedient() -> None:
    """Do each of the things that the watch is there to see."""
    import socket

    Path("../outside").write_text("")
    os.rename("../outside", "../elsewhere")  # noqa: PTH104
    pickle.loads(pickle.dumps(Path("a")))
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)
    except OSError:
        return


def test_the_watch_sees_what_it_is_there_to_see(tmp_path: Path) -> None:
    place = Workplace(tmp_path / "work")
    place.folder.mkdir()
    ended = place.do(disobedient, partial(watch, place.folder, tmp_path / "notes"))
    assert ended.code == 0, ended.err
    told = (tmp_path / "notes").read_text()
    for event in ("open", "os.rename", "pickle.find_class", "socket.connect"):
        assert f"{event} " in told


class Bomb:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


def open_all() -> int:
    """Try to read the planted pickles with every command that reads tensors."""
    from geobasin.__main__ import main

    codes = {
        main(["train", "--features", name, *SMALL, "--out", "other"])
        for name in ("planted.safetensors", "planted.pt", "shards")
    }
    codes.add(main(["train", "--features", "digits", *SMALL, "--out", "out", "--resume"]))
    return codes.pop() if len(codes) == 1 else 99


@pytest.mark.fault("every reader of tensors", "a planted pickle", times=3, campaign=3)
def test_a_planted_pickle_is_never_executed(fault, tmp_path: Path) -> None:
    def plain(path: Path) -> None:
        path.write_bytes(pickle.dumps(Bomb()))

    def torchs(path: Path) -> None:
        torch.save({"train.features": Bomb()}, path)

    def numpys(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.array([Bomb()], dtype=object), allow_pickle=True)

    plants = (plain, torchs, numpys)
    assert fault.times == len(plants)
    for number in fault.tries():
        with fault:
            place = Workplace(tmp_path / str(number) / "work")
            place.folder.mkdir(parents=True)
            (place.folder / "shards").mkdir()
            for name in ("planted.safetensors", "planted.pt", "shards/0.safetensors"):
                plants[number](place.folder / name)
            ended = place.do(place.command("train", "--features", "digits", *SMALL, "--out", "out"))
            assert ended.code == 0, ended.err
            (run,) = (place.folder / "out").glob("weights/*/*")
            (run / "SHA512SUMS").unlink()
            plants[number](run / CHECKPOINT)
            notes = tmp_path / str(number) / "notes"
            ended = place.do(open_all, partial(watch, place.folder, notes))
            assert ended.code == 2, ended.err
            assert notes.read_text() == ""
            assert not list(place.folder.rglob("exploded"))
            assert "Traceback" not in ended.err
