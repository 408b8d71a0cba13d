"""What runs have learned is kept without their weights, and is theirs."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geobasin.__main__ import main
from geobasin.config import TrainConfig
from geobasin.errors import GeoBasinError
from geobasin.feature_set import FeatureSet
from geobasin.features import load_features, synthetic
from geobasin.files import read_json
from geobasin.learned import RECORDS, keep_learned, read_learned
from geobasin.runs import load_run, train_run
from geobasin.seal import seal

CONFIG = TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16, levels=1)


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return synthetic(classes=4, feature_dim=6, rows_per_class=12)


@pytest.fixture(scope="module")
def folders(features: FeatureSet, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("runs")
    made = [train_run(features, replace(CONFIG, seed=seed), out, "made") for seed in (3, 1)]
    for folder in made:
        seal(folder)
    return made


def test_what_is_read_is_what_the_runs_hold(
    folders: list[Path], features: FeatureSet, tmp_path: Path
) -> None:
    keep_learned(folders, features, tmp_path / "kept")
    first, second = read_learned(tmp_path / "kept")
    assert (first.seed, second.seed) == (1, 3)
    for learned, folder in ((first, folders[1]), (second, folders[0])):
        run = load_run(folder)
        assert list(learned.history) == run.history
        for scale, places in learned.prototypes.items():
            weights = run.model.head(scale).cantor_prototypes.detach().numpy()
            assert np.array_equal(places, weights.astype(np.float64))
        values = run.model.get_cantor_values(features.test.features).detach().double().numpy()
        labels = features.test.labels.numpy()
        groups = [values[labels == label] for label in range(4)]
        within = sum(((group - group.mean()) ** 2).sum() for group in groups)
        expected = 1 - within / ((values - values.mean()) ** 2).sum()
        assert learned.variance_explained == pytest.approx(expected, abs=1e-9)
    assert not list((tmp_path / "kept").rglob("best_model*"))
    (record, _) = read_json(tmp_path / "kept" / RECORDS)["runs"]
    weights = next(folders[1].glob("*.safetensors")).read_bytes()
    assert record["weights_sha512"] == hashlib.sha512(weights).hexdigest()


def test_other_settings_features_and_seeds_are_refused(
    folders: list[Path], features: FeatureSet, tmp_path: Path
) -> None:
    with pytest.raises(GeoBasinError, match="other features"):
        keep_learned(folders, load_features("digits"), tmp_path / "a")
    with pytest.raises(GeoBasinError, match="same seed"):
        keep_learned([folders[0], folders[0]], features, tmp_path / "b")
    longer = train_run(features, replace(CONFIG, epochs=1), tmp_path, "made")
    seal(longer)
    with pytest.raises(GeoBasinError, match="other settings"):
        keep_learned([*folders, longer], features, tmp_path / "c")
    history = longer / "training_history.json"
    history.write_bytes(history.read_bytes() + b" ")
    with pytest.raises(GeoBasinError, match="training_history"):
        keep_learned([longer], features, tmp_path / "d")
    assert not [name for name in "abcd" if (tmp_path / name).exists()]


def test_a_kept_folder_is_not_overwritten_and_not_read_when_altered(
    folders: list[Path], features: FeatureSet, tmp_path: Path
) -> None:
    out = tmp_path / "kept"
    keep_learned(folders, features, out)
    with pytest.raises(GeoBasinError, match="in use"):
        keep_learned(folders, features, out)
    records = out / RECORDS
    records.write_text(records.read_text().replace("0.5", "0.6"))
    with pytest.raises(GeoBasinError, match="altered"):
        read_learned(out)


def test_the_command_keeps_what_the_function_keeps(
    folders: list[Path], features: FeatureSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_learned(folders, features, tmp_path / "ours")
    features.save(tmp_path / "features.safetensors")
    words = ["--features", str(tmp_path / "features.safetensors"), "--out", str(tmp_path / "kept")]
    assert main(["keep", *map(str, folders), *words]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "kept")
    ours, kept = (read_learned(tmp_path / name) for name in ("ours", "kept"))
    assert [learned.history for learned in kept] == [learned.history for learned in ours]
