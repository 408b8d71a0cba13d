"""Runs of the stage are killed for real, gone on with, and compared with one left in peace."""

import json
import shutil
import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from stage_process import Hook, die_at, interrupt_at, little_vit, note, run_out_of_space, start

from geobasin.energy import EnergyMeter
from geobasin.energy_sources import Replay, Sample
from geobasin.errors import GeoBasinError
from geobasin.images import load_images, normalise
from geobasin.optimizer_state import pack_optimizer, unpack_optimizer
from geobasin.optimizers import NAMES, make_optimizer
from geobasin.seal import verify
from geobasin.stage4 import LOG, SUMMARY, WEIGHTS, main
from geobasin.stage4_checkpoint import Checkpoints
from geobasin.stage4_data import StepBatches
from geobasin.telemetry import read_header, read_log
from geobasin.tensors import read_tensors, save_tensors

WORDS = ["--mode", "RFT", "--steps", "7", "--batch", "4", "--lr", "1e-3", "--image_size", "32"]
WORDS += ["--device", "cpu", "--val-every", "3", "--checkpoint-every", "2", "--out", "run"]
# What a clock, a thermometer or a counter showed.
MEASURED = {"t", "tempC", "J_step", "J_source", "J_window_s", "J_window_steps", "J_idle_share"}


class Work:
    """A working folder in which the command runs, in processes of its own."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder, self.run = folder, folder / "run"
        self._words = ["--data_dir", str(images), *WORDS]

    def go(self, *words: str, hook: Hook | None = None, seconds: float | None = None) -> int:
        """Run to the end, or kill after so many seconds; give the exit status."""
        process = start(self.folder, [*self._words, *words], hook)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def finish(self) -> None:
        """Go on with whatever a killed run left, to the seal."""
        if (self.run / "SHA512SUMS").exists():
            assert self.go("--resume") == 2
            assert "finished and sealed" in self.told
        elif (self.run / LOG).exists():
            assert self.go("--resume") == 0, self.told
        else:
            assert self.go("--resume") == 2
            assert "no run to go on with" in self.told
            shutil.rmtree(self.run, ignore_errors=True)
            assert self.go() == 0, self.told

    @property
    def told(self) -> str:
        """What the last process wrote to stderr, without its progress bar."""
        lines = (self.folder / "err").read_text().splitlines()
        return "\n".join(line for line in lines if line and not line.startswith("RFT ("))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, six images each to train on and three to judge by."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for label, name in enumerate(["dark", "light"]):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 128, (32, 32, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def work(tmp_path: Path, images: Path) -> Work:
    return Work(tmp_path, images)


def kept(run: Path) -> dict[str, Any]:
    """All that has to be the same, whatever happened on the way."""
    assert verify(run) == []
    header, records = read_log(run / LOG)
    summary = json.loads((run / SUMMARY).read_text())
    names = ("steps", "loss_last_tenth", "val_loss", "val_acc", "best_validation", "mean")
    return {
        "files": sorted(path.name for path in run.iterdir()),
        "weights": (run / WEIGHTS).read_bytes(),
        "config": header["config"],
        "lines": [{k: v for k, v in asdict(r).items() if k not in MEASURED} for r in records],
        "summary": {name: summary[name] for name in names},
    }


Whole = tuple[dict[str, Any], list[str]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Whole:
    """A run left in peace, and every change to a file that it made."""
    work = Work(tmp_path_factory.mktemp("whole"), images)
    assert work.go(hook=partial(note, work.folder / "events")) == 0, work.told
    return kept(work.run), (work.folder / "events").read_text().splitlines()


def checkpoints_in(run: Path) -> list[int]:
    return Checkpoints(run, 1, {}).steps()


@pytest.fixture(scope="module")
def interrupted(whole: Whole, tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A run killed just before its third checkpoint took its name."""
    work = Work(tmp_path_factory.mktemp("interrupted"), images)
    renames = [n for n, e in enumerate(whole[1], 1) if e.startswith("os.rename .checkpoint")]
    assert len(renames) == 3
    assert work.go(hook=partial(die_at, renames[2])) == -signal.SIGKILL
    assert checkpoints_in(work.run) == [4]
    assert len(list(work.run.glob(".checkpoint-000006*"))) == 1
    assert [r.step for r in read_log(work.run / LOG)[1]] == [1, 2, 3, 4, 5, 6]
    return work.run


@pytest.fixture
def again(work: Work, interrupted: Path) -> Work:
    """A working folder with a copy of that run."""
    shutil.copytree(interrupted, work.run)
    return work


# Killed.


def test_a_run_killed_at_any_change_of_a_file_ends_as_one_left_in_peace(
    whole: Whole, images: Path
) -> None:
    peaceful, events = whole

    @settings(max_examples=6, phases=[Phase.generate])
    @given(st.lists(st.integers(1, len(events)), min_size=1, max_size=2))
    def killed(moments: list[int]) -> None:
        with TemporaryDirectory() as name:
            work = Work(Path(name).resolve(), images)
            assert work.go(hook=partial(die_at, moments[0])) == -signal.SIGKILL
            if len(moments) == 2 and (work.run / LOG).exists():
                work.go("--resume", hook=partial(die_at, moments[1]))
            work.finish()
            assert kept(work.run) == peaceful

    killed()


def test_a_run_killed_while_it_is_sealed_ends_as_one_left_in_peace(
    whole: Whole, work: Work
) -> None:
    (sealing,) = [n for n, e in enumerate(whole[1], 1) if e.startswith("os.rename .SHA512SUMS")]
    assert work.go(hook=partial(die_at, sealing)) == -signal.SIGKILL
    work.finish()
    assert kept(work.run) == whole[0]


@pytest.mark.parametrize("seconds", [0.1, 0.25])
def test_a_run_killed_at_any_time_ends_as_one_left_in_peace(
    seconds: float, whole: Whole, work: Work
) -> None:
    work.go(seconds=seconds)
    work.finish()
    assert kept(work.run) == whole[0]


def test_a_run_killed_while_a_checkpoint_is_written_goes_on_from_the_one_before(
    again: Work, whole: Whole
) -> None:
    assert again.go("--resume") == 0, again.told
    assert kept(again.run) == whole[0]
    summary = json.loads((again.run / SUMMARY).read_text())
    assert [went_on["after_step"] for went_on in summary["resumed"]] == [4]


@pytest.mark.parametrize("torn", [b'{"mode": "RFT", "step": 7, "dri', b"\xff\xfe\x00", b"{}"])
def test_a_torn_line_is_cut_and_written_anew(torn: bytes, again: Work, whole: Whole) -> None:
    with (again.run / LOG).open("ab") as log:
        log.write(torn)
    assert again.go("--resume") == 0, again.told
    assert kept(again.run) == whole[0]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(again: Work, whole: Whole) -> None:
    for checkpoint in again.run.glob("checkpoint*"):
        checkpoint.unlink()
    assert again.go("--resume") == 0, again.told
    assert kept(again.run) == whole[0]


def test_ctrl_c_leaves_a_run_to_go_on_with_and_says_so(whole: Whole, work: Work) -> None:
    renames = [n for n, e in enumerate(whole[1], 1) if e.startswith("os.rename .checkpoint")]
    assert work.go(hook=partial(interrupt_at, renames[1])) == 130
    assert work.told.splitlines()[-2:] == [
        "interrupted; the same command with --resume goes on",
        "geobasin stage4: interrupted",
    ]
    assert checkpoints_in(work.run) == [2]
    assert work.go("--resume") == 0, work.told
    assert kept(work.run) == whole[0]


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_can_go_on(
    whole: Whole, work: Work
) -> None:
    assert work.go(hook=run_out_of_space) == 2
    assert len(work.told.splitlines()) == 1, work.told
    told = work.told
    assert "checkpoint-000004.safetensors" in told
    assert "--resume goes on" in told
    assert checkpoints_in(work.run) == [2]
    assert work.go("--resume") == 0, work.told
    assert kept(work.run) == whole[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_goes_on_to_the_last_bit(name: str) -> None:
    def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 3))
        return model, make_optimizer(name, model.parameters(), 1e-2, 0.1)

    def take(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    straight, optimizer = model_and_optimizer()
    take(straight, optimizer, range(9))
    first, optimizer = model_and_optimizer()
    take(first, optimizer, range(4))
    tensors, rest = pack_optimizer(optimizer)
    with TemporaryDirectory() as folder:
        save_tensors(Path(folder) / "state", tensors, {"rest": json.dumps(rest)})
        read, words = read_tensors(Path(folder) / "state")
        second, fresh = model_and_optimizer()
        second.load_state_dict(first.state_dict())
        unpack_optimizer(fresh, read, json.loads(words["rest"]))
        take(second, fresh, range(4, 9))
    for ours, theirs in zip(second.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_basin_head_killed_on_the_way_ends_as_one_left_in_peace(
    whole: Whole, images: Path, tmp_path: Path
) -> None:
    peaceful, killed = (Work(tmp_path / name, images) for name in ("peaceful", "killed"))
    for work in (peaceful, killed):
        work.folder.mkdir()
    words = ["--head", "basin", "--loss", "basin"]
    assert peaceful.go(*words) == 0, peaceful.told
    # It makes the same files as a run with a linear head.
    renames = [n for n, e in enumerate(whole[1], 1) if e.startswith("os.rename .checkpoint")]
    assert killed.go(*words, hook=partial(die_at, renames[2])) == -signal.SIGKILL
    assert checkpoints_in(killed.run) == [4]
    assert killed.go("--resume") == 2
    assert "head is 'basin' in" in killed.told
    assert killed.go(*words, "--resume") == 0, killed.told
    assert kept(killed.run) == kept(peaceful.run)
    assert kept(peaceful.run)["weights"] != whole[0]["weights"]


# Refused.


def refusal(run: Path, images: Path, *words: str) -> str:
    """What --resume says in one line; it must leave the folder as it was."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.chdir(run.parent)
        patch.setattr("geobasin.stage4.build_vit", little_vit)
        errors = Path(folder) / "err"
        with errors.open("w") as stream:
            patch.setattr("sys.stderr", stream)
            status = main(["--data_dir", str(images), *WORDS, "--quiet", "--resume", *words])
        assert status == 2
        (told,) = errors.read_text().splitlines()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    return told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lr", "2e-3"], "lr is 0.001 in"),
        (["--steps", "9"], "steps is 7 in"),
        (["--optimizer", "adamw"], "optimizer is 'dclr' in"),
        (["--until-target", "0.1"], "until_target is None in"),
        (["--seed", "1"], "seed is 1234 in"),
        (["--head", "basin"], "head is 'linear' in"),
        (["--classes", "0:2"], "images: class_slice is None in"),
    ],
)
def test_other_settings_are_refused_by_name(
    words: list[str], says: str, interrupted: Path, images: Path
) -> None:
    assert says in refusal(interrupted, images, *words)


def test_other_images_are_refused(interrupted: Path, images: Path, tmp_path: Path) -> None:
    other = tmp_path / images.name
    shutil.copytree(images, other)
    (other / "train" / "dark" / "0.png").unlink()
    assert "images: train is 12 in" in refusal(interrupted, other)


def test_a_finished_run_says_so(again: Work, images: Path) -> None:
    again.finish()
    assert "run is finished and sealed" in refusal(again.run, images)


@settings(max_examples=40)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_changed_bit_of_a_checkpoint_passes(
    place: float, bit: int, interrupted: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "altered"
    folder.mkdir(exist_ok=True)
    header = read_header(interrupted / LOG)
    sound = Checkpoints(interrupted, 2, {part: header[part] for part in ("config", "images")})
    data = bytearray(sound.path(4).read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    altered = Checkpoints(folder, 2, sound.about)
    altered.path(4).write_bytes(data)
    model = little_vit(32, 2, 0)
    with pytest.raises(GeoBasinError, match="checkpoint-000004"):
        altered.restore(4, model, make_optimizer("dclr", model.parameters(), 1e-3))


def test_a_log_that_lacks_lines_is_refused(again: Work) -> None:
    lines = (again.run / LOG).read_bytes().splitlines(keepends=True)
    (again.run / LOG).write_bytes(b"".join(lines[:3]))
    assert again.go("--resume") == 2
    assert "ends with step 2, but" in again.told


# Diverged.


def test_a_diverged_run_keeps_its_last_good_checkpoint(work: Work, images: Path) -> None:
    words = ["--optimizer", "sgd", "--lr", "3e3", "--steps", "60", "--checkpoint-every", "1"]
    assert work.go(*words) == 2
    assert len(work.told.splitlines()) == 1, work.told
    told = work.told
    summary = json.loads((work.run / SUMMARY).read_text())
    bad = summary["steps"] + 1
    assert bad > 2
    assert f"the loss of step {bad} is not a finite number" in told
    assert f"its last good checkpoint is checkpoint-{bad - 2:06d}.safetensors" in told
    assert verify(work.run) == []
    assert [r.step for r in read_log(work.run / LOG)[1]] == list(range(1, bad))
    assert not (work.run / WEIGHTS).exists()
    assert checkpoints_in(work.run) == [bad - 2]

    model = little_vit(32, 2, 0)
    optimizer = make_optimizer("sgd", model.parameters(), 3e3)
    header = read_header(work.run / LOG)
    about = {part: header[part] for part in ("config", "images")}
    Checkpoints(work.run, 1, about).restore(bad - 2, model, optimizer)
    sets = load_images(images, 32, 1234)
    (indices,) = StepBatches(12, 4, 1234, bad - 1, bad - 1)
    loss = F.cross_entropy(
        model(normalise(torch.stack([sets.train[i][0] for i in indices]))),
        torch.tensor([sets.train[i][1] for i in indices]),
    )
    assert read_log(work.run / LOG)[1][-1].loss == pytest.approx(loss.item(), rel=1e-4)


# What was measured before an interruption counts.


def test_joules_before_an_interruption_count() -> None:
    def meter(*moments: tuple[float, float]) -> EnergyMeter:
        return EnergyMeter("cpu", Replay([Sample(s, j, 40.0 + s) for s, j in moments], 0.1))

    first = meter((0.0, 0.0), (3.0, 30.0))
    first.start()
    first.lap()
    second = meter((100.0, 500.0), (102.0, 550.0))
    second.go_on(json.loads(json.dumps(first.sums())))
    second.start()
    second.lap()
    assert (second.total().joules, second.total().seconds) == (80.0, 5.0)
    assert second.total().warming == pytest.approx(102.0)


def test_joules_of_two_sources_are_not_added(tmp_path: Path) -> None:
    first = EnergyMeter("cpu", Replay([Sample(0.0, 0.0, None), Sample(3.0, 30.0, None)], 0.1))
    first.start()
    first.lap()
    second = EnergyMeter("cpu", powercap=tmp_path, thermal=tmp_path)
    second.go_on(first.sums())
    second.start()
    second.lap()
    assert second.total().joules is None
    assert second.total().seconds >= 3.0
