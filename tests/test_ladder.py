"""The ladder: its rows, its paired intervals, and a folder that survives being broken off."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from geobasin.config import TrainConfig
from geobasin.contest import Fitted, Method, Outcome
from geobasin.errors import GeoBasinError
from geobasin.evaluation import evaluate
from geobasin.feature_set import FeatureSet
from geobasin.features import synthetic
from geobasin.ladder import OURS, LadderResult, ablations, contenders, ladder, our_method
from geobasin.ladder_folder import read_ladder, write_ladder
from geobasin.seal import verify
from geobasin.train import fit

FEATURES = synthetic(classes=3, feature_dim=6, rows_per_class=12)
SMALL = TrainConfig(k=2, scales=(4, 5), epochs=2, batch=16, levels=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LadderResult]:
    folder = tmp_path_factory.mktemp("ladders") / "whole"
    return folder, write_ladder(FEATURES, folder, seeds=2, config=SMALL, source="synthetic")


def outcome(name: str, predictions: list[list[int]], labels: list[int]) -> Outcome:
    table = np.array(predictions)
    accuracy = float((table == labels).mean())
    return Outcome(name, table, accuracy, "", (), 1, 1.0, 0.0, None, "unavailable")


# What is in the table.


def test_ours_is_what_fit_trains(whole: tuple[Path, LadderResult]) -> None:
    result = whole[1]
    runs = [fit(FEATURES, replace(SMALL, seed=seed)) for seed in (0, 1)]
    shares = [evaluate(run.model, FEATURES.test).accuracy for run in runs]
    row = result.table().loc[OURS]
    assert row["accuracy"] == pytest.approx(np.mean(shares))
    assert result.as_dict()["methods"][0]["seed_accuracies"] == pytest.approx(shares)
    assert row["parameters"] == sum(p.numel() for p in runs[0].model.parameters())


def test_table_has_every_rival_and_every_ablation(whole: tuple[Path, LadderResult]) -> None:
    table = whole[1].table()
    rivals = ["nearest class mean", "linear discriminant", "logistic regression"]
    rivals += ["cosine classifier", "MLP head", "SoftTriple"]
    assert list(table.index) == [OURS, *rivals, *(f"{OURS}, {name}" for name in ablations(SMALL))]
    assert (table["low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["high"]).all()
    np.testing.assert_allclose(
        table["difference"].drop(OURS), table["accuracy"].drop(OURS) - table.loc[OURS, "accuracy"]
    )
    assert table.loc[OURS, ["difference", "difference_low"]].isna().all()
    assert (table["choosing_seconds"] > 0).sum() == 4
    assert table.loc["MLP head", "setting"].startswith("learning rate")


def test_paired_interval_resamples_the_same_rows_for_both() -> None:
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    always = [0] * 8
    result = LadderResult(
        (
            outcome(OURS, [always, labels], labels),
            outcome("the same", [labels, always], labels),
            outcome("better", [labels], labels),
        ),
        np.array(labels),
        "test",
        seeds=2,
    )
    table = result.table()
    # Right in the same rows on average, so no resample can tell the two apart.
    same = table.loc["the same", ["difference_low", "difference", "difference_high"]]
    assert same.tolist() == [0, 0, 0]
    # Half a row better wherever the label is 1: a share of ones among 8 draws, halved.
    generator = np.random.default_rng(0)
    ones = [generator.integers(8, size=8) % 2 for _ in range(2000)]
    expected = np.percentile([drawn.mean() / 2 for drawn in ones], [2.5, 97.5])
    better = table.loc["better", ["difference_low", "difference_high"]]
    assert better.tolist() == pytest.approx(expected.tolist())


def test_the_same_arguments_give_the_same_predictions() -> None:
    methods = [method for method in contenders(SMALL, ablate=False) if method.random]
    one, again = (ladder(FEATURES, SMALL, seeds=2, methods=methods) for _ in range(2))
    other = ladder(FEATURES, replace(SMALL, seed=7), seeds=2, methods=methods)
    for first, second, third in zip(one.outcomes, again.outcomes, other.outcomes, strict=True):
        np.testing.assert_array_equal(first.predictions, second.predictions)
        assert first.setting == second.setting
        assert first.predictions.shape == third.predictions.shape == (2, len(FEATURES.test))


def test_without_ours_nothing_is_compared() -> None:
    result = ladder(FEATURES, SMALL, methods=contenders(SMALL)[1:3])
    assert result.as_dict()["compared_with"] is None
    assert result.table()["difference"].isna().all()


def test_a_ladder_without_test_rows_says_that_val_is_reported() -> None:
    features = replace(FEATURES, test=None)
    result = ladder(features, SMALL, methods=contenders(SMALL)[1:2])
    assert result.split == "val"
    np.testing.assert_array_equal(result.labels, features.val.labels)


@pytest.mark.parametrize("seeds", [0, -1])
def test_a_ladder_needs_a_seed(seeds: int) -> None:
    with pytest.raises(GeoBasinError, match="at least 1 seed"):
        ladder(FEATURES, SMALL, seeds=seeds)


def test_a_ladder_refuses_two_methods_of_one_name() -> None:
    with pytest.raises(GeoBasinError, match="names of their own"):
        ladder(FEATURES, SMALL, methods=[our_method(OURS, SMALL)] * 2)


# Ablations.


def test_ablations_change_one_part_each() -> None:
    config = TrainConfig()
    changed = {
        name: {
            field.name: getattr(variant, field.name)
            for field in fields(config)
            if getattr(variant, field.name) != getattr(config, field.name)
        }
        for name, variant in ablations(config).items()
    }
    assert changed == {
        "no Cantor": {
            "components": ("feature", "crystal"),
            "coherence_weight": 0.0,
            "separation_weight": 0.0,
        },
        "no crystal": {"components": ("feature", "cantor")},
        "no feature": {"components": ("cantor", "crystal")},
        "one scale": {"scales": (384,)},
        "k = 1": {"k": 1},
        "free simplices": {"simplices": "free"},
        "levels = 1": {"levels": 1},
        "levels = 5": {"levels": 5},
    }


def test_ablations_leave_out_what_is_no_change_or_leaves_nothing() -> None:
    names = ablations(
        replace(SMALL, components=("feature",), k=1, scales=(5,), simplices="free", levels=1)
    )
    # With its loss terms still there, the Cantor line is one part that can go.
    assert list(names) == ["no Cantor", "rigid simplices", "levels = 5"]


# The folder.


def test_folder_is_sealed_strict_and_says_what_it_is(whole: tuple[Path, LadderResult]) -> None:
    folder, result = whole
    assert verify(folder) == []

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    written = json.loads((folder / "ladder.json").read_text(), parse_constant=refuse)
    assert written == result.as_dict()
    config = json.loads((folder / "config.json").read_text(), parse_constant=refuse)
    assert config["features"]["sha512"] == FEATURES.digest()
    assert config["train"] == SMALL.as_dict()
    assert config["seeds"] == 2
    assert {"torch", "scikit-learn"} <= config["versions"].keys()
    assert "cpu" in config["hardware"]


def test_a_ladder_read_back_is_the_one_written(whole: tuple[Path, LadderResult]) -> None:
    folder, result = whole
    read = read_ladder(folder)
    assert read.as_dict() == result.as_dict()
    assert read.table().equals(result.table())
    for one, other in zip(read.outcomes, result.outcomes, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)


def broken_off(calls: list[str], names: list[str], stop: str | None) -> list[Method]:
    """Methods that note when they are trained; one of them is interrupted."""

    def method(name: str) -> Method:
        def train(
            features: FeatureSet, setting: str, seed: int, on_epoch: Callable[[], object]
        ) -> Fitted:
            calls.append(f"{name} {seed}")
            if name == stop and seed == 1:
                raise KeyboardInterrupt
            return Fitted(1, lambda split: split.labels.numpy())

        return Method(name, train, random=True)

    return [method(name) for name in names]


def test_a_ladder_broken_off_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, names = tmp_path / "ladder", ["one", "two", "three"]
    calls: list[str] = []

    def go(stop: str | None) -> LadderResult:
        methods = broken_off(calls, names, stop)
        return write_ladder(FEATURES, out, 2, SMALL, methods=methods, progress=True)

    with pytest.raises(KeyboardInterrupt):
        go(stop="two")
    assert "two" in capsys.readouterr().err
    assert calls == ["one 0", "one 1", "two 0", "two 1"]
    assert not (out / "ladder.json").exists()
    calls.clear()
    result = go(stop=None)
    assert calls == ["two 0", "two 1", "three 0", "three 1"]
    assert result.table()["accuracy"].tolist() == [1, 1, 1]
    assert verify(out) == []
    written = (out / "ladder.json").read_bytes()
    calls.clear()
    go(stop=None)
    assert calls == []
    assert (out / "ladder.json").read_bytes() == written


@pytest.mark.parametrize(
    ("features", "config", "seeds", "part"),
    [
        (synthetic(classes=3, feature_dim=6, rows_per_class=12, seed=1), SMALL, 2, "features"),
        (FEATURES, replace(SMALL, tau=0.3), 2, "train"),
        (FEATURES, SMALL, 3, "seeds"),
    ],
)
def test_another_ladder_is_not_mixed_with_this_one(
    whole: tuple[Path, LadderResult],
    features: FeatureSet,
    config: TrainConfig,
    seeds: int,
    part: str,
) -> None:
    folder, _ = whole
    with pytest.raises(GeoBasinError, match=f"other {part}"):
        write_ladder(features, folder, seeds, config)
    assert verify(folder) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GeoBasinError, match="other files"):
        write_ladder(FEATURES, tmp_path, 1, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("config", "seeds", "words"),
    [(replace(SMALL, k=9), 1, "9-simplex"), (SMALL, 0, "at least 1 seed")],
)
def test_what_cannot_be_trained_leaves_no_folder(
    tmp_path: Path, config: TrainConfig, seeds: int, words: str
) -> None:
    with pytest.raises(GeoBasinError, match=words):
        write_ladder(FEATURES, tmp_path / "ladder", seeds, config)
    assert not (tmp_path / "ladder").exists()


def test_an_altered_ladder_is_neither_read_nor_sealed_again(
    whole: tuple[Path, LadderResult], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole[0], folder)
    file = folder / "methods" / "mlp-head.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(GeoBasinError, match="mlp-head"):
        read_ladder(folder)
    with pytest.raises(GeoBasinError, match="mlp-head"):
        write_ladder(FEATURES, folder, 2, SMALL)


def test_a_file_that_is_no_methods_file_is_named(tmp_path: Path) -> None:
    methods = broken_off([], ["one"], None)
    out = tmp_path / "ladder"
    write_ladder(FEATURES, out, 1, SMALL, methods=methods)
    (out / "SHA512SUMS").unlink()
    shutil.copy(out / "labels.safetensors", out / "methods" / "one.safetensors")
    with pytest.raises(GeoBasinError, match=r"one\.safetensors is not a method's file"):
        write_ladder(FEATURES, out, 1, SMALL, methods=methods)
