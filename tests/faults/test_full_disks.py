"""A disk that is full, or closed to us: one line, and nothing that was good before is lost."""

import random
import resource
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from processes import Workplace, largest_file, nobody

from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.features import load_features, synthetic
from geobasin.files import atomic_path, write_json
from geobasin.runs import CHECKPOINT, train_run
from geobasin.telemetry import StepRecord, TelemetryLog

SMALL = ["--k", "3", "--scales", "8", "--epochs", "3", "--batch", "64", "--levels", "1"]
COMMAND = ["train", "--features", "f.safetensors", *SMALL, "--device", "cpu", "--out", "out"]
CONFIG = TrainConfig(k=3, scales=(8,), epochs=3, batch=64, levels=1)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    synthetic(classes=3, feature_dim=6, rows_per_class=20).save(place.folder / "f.safetensors")
    return place


def one_line(told: str) -> str:
    """The only line of stderr that is no progress bar."""
    lines = [line for line in told.splitlines() if line and not line.startswith("epoch ")]
    assert len(lines) == 1, told
    (line,) = lines
    assert line.startswith("geobasin ")
    return line


def after_two_epochs(size: int) -> None:
    """Train, with room for files of so many bytes only once two epochs are done."""
    features = load_features("f.safetensors")

    def fill(folder: Path, epoch: int) -> None:
        if epoch == 2:
            shutil.copy(folder / CHECKPOINT, "last-good")
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    try:
        train_run(features, CONFIG, Path("out"), source="f.safetensors", on_epoch=fill)
    except GeoBasinError as error:
        print(error)


@pytest.mark.fault("train", "disk full after two epochs", times=2, campaign=24)
def test_a_disk_that_fills_up_leaves_the_last_good_checkpoint(
    fault, place: Workplace, tmp_path: Path
) -> None:
    draw = random.Random(0)
    for _ in fault.tries():
        with fault:
            shutil.rmtree(place.folder / "out", ignore_errors=True)
            ended = place.do(partial(after_two_epochs, draw.randrange(0, 4_000)))
            assert (ended.code, ended.err) == (0, "")
            (line,) = ended.out.splitlines()
            assert "cannot write" in line
            (folder,) = (place.folder / "out").glob("weights/*/*")
            assert str(folder.relative_to(place.folder) / CHECKPOINT) in line
            good = (place.folder / "last-good").read_bytes()
            assert (folder / CHECKPOINT).read_bytes() == good
            assert not list(place.folder.rglob("*.part"))
            ended = place.do(place.command(*COMMAND, "--resume"))
            assert ended.code == 0, ended.err


@pytest.mark.fault("every command that writes", "disk full from the start", times=4, campaign=24)
def test_a_full_disk_is_one_line(fault, place: Workplace) -> None:
    draw = random.Random(1)
    ladder = ["ladder", "--features", "f.safetensors", "--out", "ladder", "--seeds", "1"]
    stage = ["stage4", "--mode", "BASE", "--steps", "1", "--batch", "2", "--image_size", "32"]
    commands = [
        COMMAND,
        [*ladder, "--method", "nearest class mean", "--device", "cpu"],
        ["seal", "sealed"],
        [*stage, "--device", "cpu", "--quiet", "--out", "stage"],
    ]
    (place.folder / "sealed").mkdir()
    (place.folder / "sealed" / "a").write_text("a")
    for number in fault.tries():
        with fault:
            words = commands[number % len(commands)]
            ended = place.do(place.command(*words), partial(largest_file, draw.randrange(0, 100)))
            assert ended.code == 2, ended.err
            one_line(ended.err)
            assert not list(place.folder.rglob("*.part"))
            assert not list(place.folder.rglob("SHA512SUMS"))


@pytest.mark.fault("a log", "no space left on the device", times=1, campaign=1)
def test_a_log_without_space_says_so(fault, tmp_path: Path) -> None:
    record = StepRecord("RFT", 1, None, None, None, None, 1.0, 0.5, None, None, 0.1)
    for _ in fault.tries():
        with fault:
            log = TelemetryLog(Path("/dev/full"), 0)
            with pytest.raises(GeoBasinError, match="No space left on device; free some space"):
                log.write(record)


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder in which nobody may write, reachable for anybody."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "old.json").write_text("{}\n")
    (folder / "old.json").chmod(0o644)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def refused(folder: Path) -> None:
    """Try to write there in every way; print what was said."""
    record = StepRecord("RFT", 1, None, None, None, None, 1.0, 0.5, None, None, 0.1)
    features = synthetic(classes=3, feature_dim=6, rows_per_class=4)

    def by_atomic_path() -> None:
        with atomic_path(folder / "old.json") as temporary:
            temporary.write_text("new")

    def by_log() -> None:
        with TelemetryLog.create(folder / "log.jsonl", {}) as log:
            log.write(record)

    ways = (
        by_atomic_path,
        by_log,
        lambda: write_json(folder / "new.json", {}),
        lambda: write_json(folder / "below" / "new.json", {}),
        lambda: features.save(folder / "f.safetensors"),
        lambda: train_run(features, CONFIG, folder, source="memory"),
    )
    for way in ways:
        try:
            way()
        except GeoBasinError as error:
            print(error)


@pytest.mark.fault("every writer", "a folder that is closed to us", times=1, campaign=1)
def test_a_closed_folder_is_one_line(fault, closed: Path, tmp_path: Path) -> None:
    for _ in fault.tries():
        with fault:
            place = Workplace(tmp_path)
            ended = place.do(partial(refused, closed), nobody)
            assert ended.code == 0, ended.err
            lines = ended.out.splitlines()
            assert len(lines) == 6
            assert all("Permission denied" in line for line in lines)
            assert [path.name for path in closed.iterdir()] == ["old.json"]
            assert (closed / "old.json").read_text() == "{}\n"
