"""ViT-Tiny trained end to end with either head and either loss, against loops written out plainly.

The six runs of two heads and losses are made by one narrow layer, so that each takes a moment.
"""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from stage_process import little_vit
from torch import Tensor

from geobasin import BasinLoss, GeoFractalDavid
from geobasin.dclr import DCLR
from geobasin.images import load_images, normalise
from geobasin.stage4 import WEIGHTS, StageConfig, load_stage, run_stage
from geobasin.stage4_data import StepBatches, val_loader
from geobasin.stage4_model import build_vit, evaluate
from geobasin.stage4_objective import make_objective, with_head
from geobasin.tensors import load_weights

CPU = torch.device("cpu")
CELLS = [("linear", "cross-entropy"), ("basin", "cross-entropy"), ("basin", "basin")]
TEMPERATURE = 0.1
SMOOTHING = 0.1


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes, three images each to train on and two to judge by."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for label in range(5):
            folder = root / split / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 128, (32, 32, 3)) + 30 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's model with one narrow layer."""
    monkeypatch.setattr("geobasin.stage4.build_vit", little_vit)


def small(mode: str = "RFT", **options: Any) -> StageConfig:
    return StageConfig(**{"mode": mode, "steps": 3, "batch": 4, "image_size": 32, **options})


def separation(places: Tensor) -> Tensor:
    """Mean shortfall of the gaps between sorted places, each against what it should be."""
    ordered, count = sorted(places.unbind()), len(places)
    gaps = [1 - count * (after - before) for before, after in pairwise(ordered)]
    gaps += [1 - 2 * count * ordered[0], 1 - 2 * count * (1 - ordered[-1])]
    return torch.stack([gap.clamp_min(0) for gap in gaps]).mean()


def basin_loss(basins: GeoFractalDavid, features: Tensor, labels: Tensor) -> Tensor:
    """The loss with its default weights, written out from its definition."""
    kappa = basins.get_cantor_values(features)
    total = F.cross_entropy(basins(features) / TEMPERATURE, labels, label_smoothing=SMOOTHING)
    for scale, logits in basins.get_scale_logits(features).items():
        places = basins.head(scale).cantor_prototypes
        parts = F.cross_entropy(logits / TEMPERATURE, labels, label_smoothing=SMOOTHING)
        parts = parts + (kappa - places[labels]).square().mean() + 0.3 * separation(places)
        total = total + parts / len(basins.scales)
    return total


def class_token(vit: Any, pixels: Tensor) -> Tensor:
    """What a classifier reads: the class token behind the last norm."""
    features: Tensor = vit.forward_features(pixels)[:, 0]
    return features


def test_the_basin_objective_is_the_loss_written_out() -> None:
    vit = build_vit(32, 5, seed=3)
    model: Any = with_head("basin", vit, 5, seed=3)
    torch.manual_seed(0)
    pixels, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    total, logits = make_objective("basin", model)(pixels, labels)
    features = class_token(model, pixels)
    basins = model.head.basins
    assert total.item() == pytest.approx(basin_loss(basins, features, labels).item(), rel=1e-5)
    torch.testing.assert_close(logits, basins(features) / TEMPERATURE)
    torch.testing.assert_close(model(pixels), logits)
    plain, same = make_objective("cross-entropy", model)(pixels, labels)
    torch.testing.assert_close(same, logits)
    expected = -logits.log_softmax(1)[torch.arange(6), labels].mean()
    assert plain.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_encoder_starts_alike_with_either_head_and_torchs_generator_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    linear = build_vit(32, 5, seed=3).state_dict()
    basin = with_head("basin", build_vit(32, 5, seed=3), 5, seed=3).state_dict()
    other = with_head("basin", build_vit(32, 5, seed=3), 5, seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    shared = [name for name in linear if not name.startswith("head.")]
    assert all(torch.equal(linear[name], basin[name]) for name in shared)
    assert basin.keys() == other.keys() > set(shared)
    centroids = "head.basins.heads.128.centroids"
    assert not torch.equal(basin[centroids], other[centroids])


@pytest.mark.parametrize(("head", "loss"), CELLS)
def test_every_parameter_has_a_gradient(head: str, loss: str) -> None:
    # DistributedDataParallel would wait for ever for one that has none.
    model = with_head(head, little_vit(32, 5, 0), 5, 0)
    pixels, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    make_objective(loss, model)(pixels, labels)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("mode", ["RFT", "BASE"])
@pytest.mark.parametrize(("head", "loss"), CELLS)
def test_each_cell_is_a_plain_loop_to_the_last_bit(
    head: str, loss: str, mode: str, tmp_path: Path, images: Path, little: None
) -> None:
    config = small(mode, head=head, loss=loss, lr=1e-3)
    out = run_stage(config, tmp_path / "run", images, CPU, quiet=True)
    run = load_stage(out)

    sets = load_images(images, 32, 1234)
    vit: Any = little_vit(32, 5, 1234)
    torch.manual_seed(1234)
    basins = GeoFractalDavid(24, 5, k=12, scales=(128, 256, 384), levels=4)
    kept = [p for name, p in vit.named_parameters() if not name.startswith("head.")]
    parameters = [*kept, *(vit.head if head == "linear" else basins).parameters()]
    kind = DCLR if mode == "RFT" else torch.optim.Adam
    optimizer = kind(parameters, lr=1e-3, weight_decay=0.0)

    def logits_of(features: Tensor) -> Tensor:
        return vit.head(features) if head == "linear" else basins(features) / TEMPERATURE

    for record, indices in zip(run.records, StepBatches(15, 4, 1234, 1, 3), strict=True):
        pixels = normalise(torch.stack([sets.train[i][0] for i in indices]))
        labels = torch.tensor([sets.train[i][1] for i in indices])
        features = class_token(vit, pixels)
        logits = logits_of(features)
        entropy = F.cross_entropy(logits, labels)
        assert record.loss == pytest.approx(entropy.item(), rel=1e-5)
        assert record.acc == (logits.argmax(1) == labels).float().mean().item()
        optimizer.zero_grad()
        terms = BasinLoss()(basins.score(features), labels)
        (terms.total if loss == "basin" else entropy).backward()
        optimizer.step()
    pixels = normalise(torch.stack([sets.val[i][0] for i in range(10)]))
    truth = torch.tensor([sets.val[i][1] for i in range(10)])
    with torch.no_grad():
        judged = F.cross_entropy(logits_of(class_token(vit, pixels)), truth)
    assert run.summary["val_loss"] == pytest.approx(judged.item(), rel=1e-4)

    weights = load_weights(out / WEIGHTS)
    own = vit.state_dict()
    if head == "basin":
        own = {name: value for name, value in own.items() if not name.startswith("head.")}
        own |= {f"head.basins.{name}": value for name, value in basins.state_dict().items()}
    assert weights.keys() == own.keys()
    assert [name for name, value in own.items() if not torch.equal(weights[name], value)] == []


def test_a_basin_run_tells_its_head_and_a_linear_one_reads_as_before(
    tmp_path: Path, images: Path, little: None
) -> None:
    config = small(head="basin", loss="basin")
    run = load_stage(run_stage(config, tmp_path / "basin", images, CPU, quiet=True))
    assert (run.header["config"]["head"], run.header["config"]["loss"]) == ("basin", "basin")
    told = run.header["model"]["head"]
    assert (told["scales"], told["k"], told["levels"]) == ([128, 256, 384], 12, 4)
    assert (told["feature_dim"], told["num_classes"], told["temperature"]) == (24, 5, TEMPERATURE)
    weights = load_weights(tmp_path / "basin" / WEIGHTS)
    buffers = sum(weights[name].numel() for name in weights if name.endswith(("frame", "centers")))
    counted = sum(value.numel() for value in weights.values()) - buffers
    assert run.header["model"]["parameters"] == counted
    assert "whichever loss" in run.header["definitions"]["loss"]["is"]

    run = load_stage(run_stage(small(), tmp_path / "linear", images, CPU, quiet=True))
    assert run.header["model"].keys() == {"name", "parameters"}
    # As it was told before the stage had heads.
    before = {n: v for n, v in run.header["config"].items() if n not in ("head", "loss")}
    assert StageConfig(**before) == small()


def test_the_weights_of_a_basin_run_are_those_that_were_judged(
    tmp_path: Path, images: Path, little: None
) -> None:
    out = run_stage(small(head="basin", loss="basin"), tmp_path / "run", images, CPU, quiet=True)
    model = with_head("basin", little_vit(32, 5, 0), 5, 0)
    model.load_state_dict(load_weights(out / WEIGHTS))
    judged = evaluate(model, val_loader(load_images(images, 32, 1234).val, 4))
    summary = load_stage(out).summary
    assert judged.loss == pytest.approx(summary["val_loss"], rel=1e-6)
    assert judged.acc == summary["val_acc"]


@pytest.mark.parametrize("loss", ["cross-entropy", "basin"])
def test_in_bfloat16_the_basin_head_gives_about_the_same(loss: str) -> None:
    model = with_head("basin", little_vit(32, 5, 0), 5, 0)
    torch.manual_seed(0)
    pixels, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    objective = make_objective(loss, model)
    whole, logits = objective(pixels, labels)
    with torch.autocast("cpu", torch.bfloat16):
        narrow, coarse = objective(pixels, labels)
    assert coarse.dtype == torch.float32
    assert narrow.item() == pytest.approx(whole.item(), rel=0.02)
    torch.testing.assert_close(coarse, logits, atol=0.2, rtol=0)
    narrow.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("mode", ["RFT", "BASE"])
def test_a_parameter_without_a_gradient_stays_and_breaks_nothing(
    mode: str, tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_idle_parameter(image_size: int, num_classes: int, seed: int) -> torch.nn.Module:
        vit = little_vit(image_size, num_classes, seed)
        vit.idle = torch.nn.Parameter(torch.tensor([1.5, -2.0]))
        return vit

    monkeypatch.setattr("geobasin.stage4.build_vit", with_idle_parameter)
    config = small(mode, head="basin", loss="basin", weight_decay=0.1)
    out = run_stage(config, tmp_path / "run", images, CPU, quiet=True, checkpoint_every=1)
    assert load_weights(out / WEIGHTS)["idle"].tolist() == [1.5, -2.0]
    first, *others = load_stage(out).records
    assert first.flux is not None
    assert all(r.coh is not None and r.E_ret is not None for r in others)


def test_a_choice_of_classes_trains_as_a_folder_of_these_classes_does(
    tmp_path: Path, images: Path, little: None
) -> None:
    alone = tmp_path / images.name
    for split in ("train", "val"):
        for label in (1, 3):
            place = Path(split) / f"class {label}"
            shutil.copytree(images / place, alone / place)
    config = small(val_every=1)
    ours = run_stage(config, tmp_path / "ours", images, CPU, quiet=True, classes="1::2")
    theirs = run_stage(config, tmp_path / "theirs", alone, CPU, quiet=True)
    ours, theirs = load_stage(ours), load_stage(theirs)
    assert ours.summary["weights_sha512"] == theirs.summary["weights_sha512"]
    assert ours.header["images"] == theirs.header["images"] | {"class_slice": "1::2"}
    assert (ours.header["images"]["classes"], ours.header["images"]["val"]) == (2, 4)
