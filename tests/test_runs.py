"""Run folders: the published layout, weights that load, and a resume that changes nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geobasin import runs
from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.features import FeatureSet, synthetic
from geobasin.report import finish_run
from geobasin.runs import load_run, train_run
from geobasin.seal import verify

CONFIG = TrainConfig(k=3, scales=(8, 16), epochs=3, batch=32, levels=2)


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return synthetic(classes=4, feature_dim=8, rows_per_class=20)


@pytest.fixture(scope="module")
def folder(features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    folder = train_run(features, CONFIG, out, source="synthetic")
    finish_run(folder)
    return folder


def test_folder_has_the_published_layout(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    accuracy = json.loads(next(folder.glob("*_metadata.json")).read_text())["val_accuracy"]
    assert names == {
        f"best_model_acc{100 * accuracy:.2f}.safetensors",
        f"best_model_acc{100 * accuracy:.2f}_metadata.json",
        "train_config.json",
        "training_history.json",
        "cantor_prototypes_distribution.png",
        "cantor_prototypes_sorted.png",
        "cantor_prototypes_cross_scale.png",
        "README.md",
        "SHA512SUMS",
    }
    assert folder.parent.name == "GeoFractalDavid-Basin-k3"
    assert folder.parent.parent.name == "weights"
    assert verify(folder) == []


def test_metadata_tells_what_the_weights_do(folder: Path, features: FeatureSet) -> None:
    run = load_run(folder)
    val = evaluate(run.model, features.val)
    assert run.metadata["val_accuracy"] == val.accuracy
    assert run.metadata["test_accuracy"] == evaluate(run.model, features.test).accuracy
    assert run.metadata["scale_accuracy"] == {
        str(scale): share for scale, share in val.scale_accuracy.items()
    }
    assert run.metadata["val_accuracy"] == max(record.val.accuracy for record in run.history)
    assert run.config["features"]["sha512"] == features.digest()


def test_events_hold_the_history(folder: Path) -> None:
    events = folder.parents[2] / "runs" / folder.parent.name / folder.name
    assert [path.name.startswith("events.out.tfevents.") for path in events.iterdir()] == [True]
    board = EventAccumulator(str(events)).Reload()
    logged = [event.value for event in board.Scalars("accuracy/val")]
    expected = [record.val.accuracy for record in load_run(folder).history]
    assert logged == pytest.approx(expected)


def test_card_is_filled_from_the_run(folder: Path) -> None:
    card, run = (folder / "README.md").read_text(), load_run(folder)
    assert "{" not in card.replace("{'", "")
    assert f"{run.metadata['val_accuracy']:.2%}" in card
    assert f"{run.metadata['alpha']['final']:.4f}" in card
    for line in card.splitlines():
        if line.startswith("!["):
            assert (folder / line.split("](")[1].rstrip(")")).is_file()


def test_usage_in_the_card_runs(folder: Path, features: FeatureSet, monkeypatch) -> None:
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"features": features.val.features}
    exec(code, names)
    with torch.no_grad():
        assert torch.equal(names["logits"], load_run(folder).model(features.val.features))


def test_interrupted_and_resumed_is_uninterrupted(
    features: FeatureSet, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    logged = []

    def interrupt(board, record) -> None:
        logged.append(record.epoch)
        if record.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "log_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_run(features, CONFIG, tmp_path, source="synthetic")
    assert logged == [1, 2]
    resumed = finish_run(train_run(features, CONFIG, tmp_path, source="synthetic", resume=True))
    whole = load_run(folder)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    assert [r.terms for r in resumed.history] == [r.terms for r in whole.history]


def test_resume_wants_the_same_run(features: FeatureSet, folder: Path) -> None:
    out = folder.parents[2]
    with pytest.raises(GeoBasinError, match="no interrupted run"):
        train_run(features, CONFIG, out, source="synthetic", resume=True)


def test_two_runs_in_one_second_have_two_folders(features: FeatureSet, tmp_path: Path) -> None:
    config = TrainConfig(k=2, scales=(4,), epochs=1, batch=200, levels=1)
    folders = {train_run(features, config, tmp_path, source="synthetic") for _ in range(3)}
    assert len(folders) == 3


def test_weights_carry_their_settings(folder: Path) -> None:
    with safe_open(next(folder.glob("best_model*.safetensors")), framework="pt") as opened:
        assert json.loads(opened.metadata()["settings"]) == load_run(folder).model.settings


def test_a_loss_that_is_not_finite_stops_the_run(features: FeatureSet, tmp_path: Path) -> None:
    config = TrainConfig(k=2, scales=(4,), epochs=3, batch=16, lr=1e30, gradient_clip=0.0)
    with pytest.raises(GeoBasinError, match=r"the loss is .* at step 2 \(epoch 1\)"):
        train_run(features, config, tmp_path, source="synthetic")


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a\nb", "n" * 300])
def test_no_name_of_features_leads_elsewhere(
    features: FeatureSet, name: str, tmp_path: Path
) -> None:
    config = TrainConfig(k=2, scales=(4,), epochs=1, batch=200, levels=1)
    named = replace(features, name=name)
    folder = train_run(named, config, tmp_path / "deep" / "out", source="memory")
    assert folder.parent == tmp_path / "deep" / "out" / "weights" / "GeoFractalDavid-Basin-k2"
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_finished_run_that_lacks_its_seal_is_gone_on_with(
    features: FeatureSet, tmp_path: Path
) -> None:
    whole = train_run(features, CONFIG, tmp_path, source="synthetic")
    before = {path: path.read_bytes() for path in whole.iterdir()}
    assert train_run(features, CONFIG, tmp_path, source="synthetic", resume=True) == whole
    assert {path: path.read_bytes() for path in whole.iterdir()} == before
    finish_run(whole)
    with pytest.raises(GeoBasinError, match="no interrupted run"):
        train_run(features, CONFIG, tmp_path, source="synthetic", resume=True)


def test_another_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="name a run's folder"):
        load_run(tmp_path)
