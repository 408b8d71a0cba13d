"""The stage is run for real on a handful of images, and its lines are computed a second time."""

import hashlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from geobasin.dclr import DCLR
from geobasin.energy import EnergyMeter
from geobasin.energy_sources import Replay, Sample
from geobasin.errors import GeoBasinError
from geobasin.images import load_images, normalise
from geobasin.optimizers import NAMES, make_optimizer
from geobasin.seal import verify
from geobasin.stage4 import (
    CONFIG,
    LOG,
    SUMMARY,
    WEIGHTS,
    StageConfig,
    load_stage,
    main,
    run_stage,
)
from geobasin.stage4_data import StepBatches, val_loader
from geobasin.stage4_loop import build_vit, evaluate
from geobasin.telemetry import read_log
from geobasin.tensors import content_digest, load_weights

CPU = torch.device("cpu")
SMALL = ["--steps", "3", "--batch", "4", "--image_size", "32", "--device", "cpu", "--quiet"]


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
                pixels = generator.integers(0, 128, (40, 36, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def small(mode: str = "RFT", **options: Any) -> StageConfig:
    return StageConfig(**{"mode": mode, "steps": 3, "batch": 4, "image_size": 32, **options})


def go(out: Path, images: Path, mode: str = "RFT", **options: Any) -> Path:
    return run_stage(small(mode, **options), out, images, CPU, quiet=True)


def test_a_run_leaves_a_sealed_folder_with_a_line_for_every_step(
    tmp_path: Path, images: Path
) -> None:
    out = go(tmp_path / "run", images)
    files = [LOG, CONFIG, SUMMARY, WEIGHTS, "SHA512SUMS"]
    assert sorted(p.name for p in out.iterdir()) == sorted(files)
    assert verify(out) == []
    run = load_stage(out)
    assert [r.step for r in run.records] == [1, 2, 3]
    assert {r.mode for r in run.records} == {"RFT"}
    assert run.header["config"] == json.loads((out / CONFIG).read_text())
    assert run.header["config"]["optimizer"] == "dclr"
    listing = "".join(
        f"{path.relative_to(images)} {path.stat().st_size}\n"
        for split in ("train", "val")
        for path in sorted((images / split).rglob("*.png"))
    )
    assert run.header["images"] == {
        "source": images.name,
        "classes": 2,
        "train": 12,
        "val": 6,
        "listing_sha512": hashlib.sha512(listing.encode()).hexdigest(),
    }
    assert str(images.parent) not in (out / LOG).read_text()
    first, *others = run.records
    assert (first.drift, first.coh) == (None, None)
    for record in others:
        assert record.drift is not None
        assert record.coh == pytest.approx(math.cos(record.drift))
    assert run.summary["val_acc"] == run.records[-1].val_acc
    assert run.summary["stopped"] is None


def test_a_changed_log_is_not_read(tmp_path: Path, images: Path) -> None:
    out = go(tmp_path / "run", images, steps=1)
    data = bytearray((out / LOG).read_bytes())
    data[data.rfind(b"0.")] ^= 1
    (out / LOG).write_bytes(data)
    with pytest.raises(GeoBasinError, match=LOG):
        load_stage(out)


def test_base_is_a_plain_loop_with_torchs_adam(tmp_path: Path, images: Path) -> None:
    out = go(tmp_path / "run", images, "BASE", lr=1e-3)
    _, records = read_log(out / LOG)

    sets = load_images(images, 32, 1234)
    torch.manual_seed(1234)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, num_classes=2)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    for record, indices in zip(records, StepBatches(12, 4, 1234, 1, 3), strict=True):
        pixels = torch.stack([sets.train[i][0] for i in indices])
        labels = torch.tensor([sets.train[i][1] for i in indices])
        logits = model(normalise(pixels))
        loss = F.cross_entropy(logits, labels)
        assert record.loss == pytest.approx(loss.item(), abs=1e-6)
        assert record.acc == (logits.argmax(1) == labels).float().mean().item()
        assert record.E_ret == pytest.approx(1.0, abs=1e-3)
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert load_stage(out).summary["weights_sha512"] == content_digest(model.state_dict())
    model.eval()
    with torch.no_grad():
        logits = model(normalise(torch.stack([sets.val[i][0] for i in range(6)])))
    truth = torch.tensor([sets.val[i][1] for i in range(6)])
    assert records[-1].val_loss == pytest.approx(F.cross_entropy(logits, truth).item(), abs=1e-5)
    assert records[-1].val_acc == pytest.approx((logits.argmax(1) == truth).float().mean().item())


def test_both_modes_see_the_same_weights_and_images(tmp_path: Path, images: Path) -> None:
    logs = {m: read_log(go(tmp_path / m, images, m) / LOG)[1] for m in ("RFT", "BASE")}
    assert logs["RFT"][0].loss == logs["BASE"][0].loss
    assert logs["RFT"][1].loss != logs["BASE"][1].loss


def test_a_seed_gives_the_same_numbers_again_and_another_seed_others(
    tmp_path: Path, images: Path
) -> None:
    def told(name: str, seed: int) -> list[tuple[float | None, ...]]:
        _, records = read_log(go(tmp_path / name, images, seed=seed) / LOG)
        return [(r.loss, r.coh, r.flux, r.E_ret) for r in records]

    assert told("a", 7) == told("b", 7)
    assert told("c", 8)[0] != told("a2", 7)[0]


def test_the_model_is_vit_tiny_and_torchs_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    model: Any = build_vit(48, 7, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.patch_embed.patch_size == (16, 16)
    assert (model.embed_dim, len(model.blocks), model.blocks[0].attn.num_heads) == (192, 12, 3)
    assert model.cls_token.shape == (1, 1, 192)
    assert model.pos_embed.shape == (1, 1 + 9, 192)
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 7)


# The order of the images.


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
    first=st.integers(1, 12),
)
def test_a_steps_images_follow_from_seed_and_step(
    size: int, batch: int, seed: int, first: int
) -> None:
    whole = list(StepBatches(size, batch, seed, 1, 12))
    assert list(StepBatches(size, batch, seed, first, 12)) == whole[first - 1 :]
    row = [index for indices in whole for index in indices]
    for start in range(0, len(row) - size + 1, size):
        assert sorted(row[start : start + size]) == list(range(size))


def test_permutations_differ_from_round_to_round_and_from_seed_to_seed() -> None:
    one, two = StepBatches(100, 100, 5, 1, 2)
    (other,) = StepBatches(100, 100, 6, 1, 1)
    assert one != two
    assert one != other


# Which steps are told.


def test_telemetry_every_tells_the_first_step_and_the_last(tmp_path: Path, images: Path) -> None:
    out = go(tmp_path / "run", images, steps=8, telemetry_every=3, val_every=5, batch=2)
    _, records = read_log(out / LOG)
    assert [r.step for r in records] == [1, 3, 5, 6, 8]
    assert [r.step for r in records if r.val_acc is not None] == [5, 8]


def test_telling_less_changes_nothing_of_the_run(tmp_path: Path, images: Path) -> None:
    often = load_stage(go(tmp_path / "a", images, steps=4))
    seldom = load_stage(go(tmp_path / "b", images, steps=4, telemetry_every=4))
    assert seldom.summary["val_loss"] == often.summary["val_loss"]


def replayed(*moments: tuple[float, float]) -> EnergyMeter:
    return EnergyMeter("cpu", Replay([Sample(s, j, 40.0 + s) for s, j in moments], 0.1))


def test_joules_belong_to_windows_and_short_windows_have_none(tmp_path: Path, images: Path) -> None:
    meter = replayed((0.0, 0.0), (1.2, 30.0), (2.2, 70.0), (2.4, 80.0))
    run_stage(small(), tmp_path / "run", images, CPU, meter, quiet=True)
    run = load_stage(tmp_path / "run")
    assert [r.J_step for r in run.records] == [30.0, 40.0, None]
    assert [r.J_window_s for r in run.records] == [1.2, pytest.approx(1.0), None]
    assert {r.J_source for r in run.records} == {"replay"}
    assert run.summary["J_step"] == pytest.approx(80 / 3)
    assert run.summary["energy"]["source"] == "replay"
    assert run.summary["dT"] == pytest.approx(2.4)


def test_a_windows_joules_are_shared_by_its_steps(tmp_path: Path, images: Path) -> None:
    meter = replayed((0.0, 0.0), (2.0, 10.0), (4.0, 30.0), (8.0, 100.0))
    config = small(steps=7, telemetry_every=3)
    run_stage(config, tmp_path / "run", images, CPU, meter, quiet=True)
    records = load_stage(tmp_path / "run").records
    assert [(r.step, r.J_window_steps, r.J_step) for r in records] == [
        (1, 1, 10.0),
        (3, 2, 10.0),
        (6, 3, pytest.approx(70 / 3)),
        (7, None, None),
    ]


def test_what_validation_spends_belongs_to_no_step(tmp_path: Path, images: Path) -> None:
    meter = replayed((0.0, 0.0), (2.0, 10.0), (50.0, 9000.0), (52.0, 9030.0))
    run_stage(small(steps=2, val_every=1), tmp_path / "run", images, CPU, meter, quiet=True)
    run = load_stage(tmp_path / "run")
    assert [r.J_step for r in run.records] == [10.0, 30.0]
    assert run.summary["J_step"] == 20.0


def test_energy_that_nobody_measured_is_null(tmp_path: Path, images: Path) -> None:
    nowhere = tmp_path / "nowhere"
    meter = EnergyMeter("cpu", powercap=nowhere, thermal=nowhere)
    run_stage(small(), tmp_path / "run", images, CPU, meter, quiet=True)
    run = load_stage(tmp_path / "run")
    assert {(r.J_step, r.J_source, r.tempC) for r in run.records} == {(None, "unavailable", None)}
    assert (run.summary["J_step"], run.summary["dT"]) == (None, None)


# The command line.


def test_the_command_runs_as_the_source_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "geobasin.stage4", "--mode", "BASE", "--steps", "2"]
    command += ["--batch", "8", "--lr", "5e-4", "--image_size", "32", "--seed", "1234"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "BASE (adam)" in done.stderr
    out = tmp_path / "runs" / "stage4" / "BASE-seed1234"
    assert (tmp_path / done.stdout.strip()) == out
    run = load_stage(out)
    assert run.header["images"]["source"] == "fractal"
    assert run.header["config"]["seed"] == 1234
    monkeypatch.chdir(tmp_path)
    assert main(command[3:]) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "exists already" in told
    assert verify(out) == []


BAD = {
    "mode": (["--mode", "FAST"], "RFT or BASE"),
    "optimiser": (["--mode", "RFT", "--optimizer", "newton"], "dclr, "),
    "no rate": (["--mode", "RFT", "--lr", "0"], "lr"),
    "a negative rate": (["--mode", "RFT", "--lr=-1e-3"], "lr"),
    "a rate that is no number": (["--mode", "RFT", "--lr", "nan"], "lr"),
    "no steps": (["--mode", "RFT", "--steps", "0"], "steps"),
    "no batch": (["--mode", "RFT", "--batch", "0"], "batch"),
    "one patch": (["--mode", "RFT", "--image_size", "16"], "image_size 16"),
    "half a patch": (["--mode", "RFT", "--image_size", "40"], "image_size 40"),
    "a negative seed": (["--mode", "RFT", "--seed=-1"], "seed"),
    "a target that is no loss": (["--mode", "RFT", "--until-target", "-1"], "until_target"),
    "a target never looked at": (["--mode", "RFT", "--until-target", "1"], "val_every"),
    "negative checkpoints": (["--mode", "RFT", "--checkpoint-every=-1"], "checkpoint_every"),
    "nothing to go on with": (["--mode", "RFT", "--resume"], "no run to go on with"),
    "a schedule": (["--mode", "RFT", "--schedule", "steep"], "schedule"),
    "a device": (["--mode", "RFT", "--device", "abacus"], "device"),
    "an assumed power": (["--mode", "RFT", "--assumed-watts", "0"], "power"),
    "images nowhere": (["--mode", "RFT", "--data_dir", "nowhere"], "nowhere"),
    "a head": (["--mode", "RFT", "--head", "tail"], "linear or basin"),
    "a loss": (["--mode", "RFT", "--loss", "hinge"], "cross-entropy or basin"),
    "basins that are not there": (["--mode", "RFT", "--loss", "basin"], "give --head basin"),
    "classes of no folder": (["--mode", "RFT", "--classes", "0::2"], "give --data_dir"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_in_one_line_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, words = BAD[name]
    assert main([*SMALL, *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert len(told.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_read_leaves_nothing(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in images.rglob("*.png"):
        copy = tmp_path / "data" / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes()[:60])
    out = tmp_path / "run"
    data = ["--data_dir", str(tmp_path / "data")]
    assert main([*SMALL, "--mode", "RFT", *data, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert ".png" in told
    assert len(told.splitlines()) == 1
    assert not out.exists()


def test_a_folder_in_use_is_refused_and_left_as_it_was(tmp_path: Path, images: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(GeoBasinError, match="in use"):
        go(tmp_path, images)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_loss_that_is_no_number_stops_the_run_and_what_was_logged_is_sealed(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = [*SMALL, "--mode", "BASE", "--lr", "1e30", "--data_dir", str(images)]
    assert main([*arguments, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "the loss of step 2 is not a finite number" in told
    assert len(told.splitlines()) == 1
    run = load_stage(out)
    assert [r.step for r in run.records] == [1]
    assert run.summary["steps"] == 1
    assert "step 2" in run.summary["stopped"]
    assert run.summary["val_acc"] is None


# Settings and optimisers.


def test_the_rate_rises_and_falls_as_its_formula_says() -> None:
    cosine = small(steps=110, lr=0.2, warmup=10, schedule="cosine")
    assert cosine.rate(1) == pytest.approx(0.02)
    assert cosine.rate(10) == pytest.approx(0.2)
    assert cosine.rate(60) == pytest.approx(0.1)
    assert cosine.rate(110) == pytest.approx(0.0, abs=1e-12)
    assert [small(lr=0.3).rate(step) for step in (1, 2, 3)] == [0.3] * 3


@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_lowers_a_simple_loss(name: str) -> None:
    p = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = make_optimizer(name, [p], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (p**2).sum().backward()
        optimizer.step()
    assert (p.detach() ** 2).sum().item() < 13.0 / 4


def test_the_modes_optimisers_are_what_they_are_said_to_be() -> None:
    p = [torch.nn.Parameter(torch.zeros(1))]
    assert type(make_optimizer(small("RFT").optimizer, p, 1e-3)) is DCLR
    assert type(make_optimizer(small("BASE").optimizer, p, 1e-3)) is torch.optim.Adam
    with pytest.raises(GeoBasinError, match="newton"):
        make_optimizer("newton", p, 1e-3)


# Until a target.


def test_a_run_stops_at_the_first_validation_that_reaches_the_target(
    tmp_path: Path, images: Path
) -> None:
    out = go(tmp_path / "a", images, steps=6, val_every=2)
    losses = [r.val_loss for r in load_stage(out).records if r.val_loss is not None]
    assert len(losses) == 3
    target = sorted(losses)[1]
    first = 2 * (1 + next(i for i, loss in enumerate(losses) if loss <= target))
    meter = replayed((0.0, 0.0), *((2.0 * n, 10.0 * n) for n in range(1, 20)))
    config = small(steps=6, val_every=2, until_target=target)
    run_stage(config, tmp_path / "b", images, CPU, meter, quiet=True)
    run = load_stage(tmp_path / "b")
    assert run.records[-1].step == run.summary["steps"] == first
    assert run.summary["target"] == target
    assert run.summary["steps_to_target"] == first
    assert 0 < run.summary["seconds_to_target"] <= run.summary["seconds"]
    assert run.summary["joules_to_target"] == run.summary["energy"]["joules"]
    assert run.summary["stopped"] is None
    assert run.summary["val_loss"] == run.records[-1].val_loss


def test_a_target_that_is_missed_is_null_and_so_are_unknown_joules(
    tmp_path: Path, images: Path
) -> None:
    missed = load_stage(go(tmp_path / "a", images, val_every=1, until_target=1e-9)).summary
    assert missed["steps"] == 3
    names = ("steps_to_target", "seconds_to_target", "joules_to_target")
    assert [missed[name] for name in names] == [None, None, None]
    meter = EnergyMeter("cpu", powercap=tmp_path / "none", thermal=tmp_path / "none")
    config = small(val_every=1, until_target=1e9)
    reached = load_stage(run_stage(config, tmp_path / "b", images, CPU, meter, quiet=True)).summary
    assert reached["steps_to_target"] == 1
    assert reached["joules_to_target"] is None


def test_telemetry_counts_its_own_seconds(tmp_path: Path, images: Path) -> None:
    summary = load_stage(go(tmp_path / "run", images)).summary
    assert 0 < summary["telemetry_seconds"] < summary["training_seconds"] <= summary["seconds"]


def test_the_weights_that_are_kept_are_those_that_were_judged(tmp_path: Path, images: Path) -> None:
    out = go(tmp_path / "run", images)
    model = build_vit(32, 2, seed=0)
    model.load_state_dict(load_weights(out / WEIGHTS))
    sets = load_images(images, 32, 1234)
    judged = evaluate(model, val_loader(sets.val, 4))
    assert judged.loss == pytest.approx(load_stage(out).summary["val_loss"], rel=1e-6)


def test_weights_that_are_not_kept_leave_their_digest(tmp_path: Path, images: Path) -> None:
    kept = go(tmp_path / "kept", images)
    digest = content_digest(load_weights(kept / WEIGHTS))
    assert load_stage(kept).summary["weights_sha512"] == digest
    words = ["--mode", "RFT", "--steps", "3", "--batch", "4", "--image_size", "32", "--quiet"]
    out = tmp_path / "digest"
    told = [*words, "--data_dir", str(images), "--device", "cpu", "--out", str(out)]
    assert main([*told, "--no-weights"]) == 0
    assert not (out / WEIGHTS).exists()
    assert load_stage(out).summary["weights_sha512"] == digest
