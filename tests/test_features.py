"""Feature sets: what is loaded is what was written, and what cannot be trained on is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.features import digits, load_features, synthetic


def tensors(rows: int = 12, width: int = 4, classes: int = 3) -> dict[str, Tensor]:
    labels = torch.arange(rows) % classes
    features = torch.randn(rows, width, generator=torch.Generator().manual_seed(0))
    return {
        "train.features": features,
        "train.labels": labels,
        "val.features": features[:6].clone(),
        "val.labels": labels[:6].clone(),
    }


def written(path: Path, content: dict[str, Tensor], **metadata: str) -> str:
    save_file(content, path, metadata=metadata or None)
    return str(path)


def test_digits_are_all_of_scikit_learns_once() -> None:
    loaded = digits()
    pixels, labels = load_digits(return_X_y=True)
    splits = loaded.splits().values()
    rows = torch.cat([split.features for split in splits]).double() * 16
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, pixels.tolist()))
    counts = torch.bincount(torch.cat([split.labels for split in splits]))
    assert counts.tolist() == torch.bincount(torch.from_numpy(labels)).tolist()
    for split in splits:
        shares = torch.bincount(split.labels) / len(split)
        torch.testing.assert_close(shares, counts / len(labels), atol=0.005, rtol=0)


def test_digits_are_split_alike_every_time() -> None:
    assert digits().digest() == digits().digest()


def test_a_saved_set_loads_as_it_was(tmp_path: Path) -> None:
    original = synthetic(classes=4, feature_dim=5, rows_per_class=8)
    original.save(tmp_path / "synthetic.safetensors")
    loaded = load_features(str(tmp_path / "synthetic.safetensors"))
    assert loaded.digest() == original.digest()
    assert loaded.class_names == original.class_names


def test_digest_sees_every_value_and_label() -> None:
    first, second = synthetic(), synthetic()
    second.val.labels[0] += 1
    assert first.digest() != second.digest()
    second.val.labels[0] -= 1
    second.train.features[3, 2] += 1e-6
    assert first.digest() != second.digest()


def test_half_precision_features_become_float32(tmp_path: Path) -> None:
    content = tensors()
    content["train.features"] = content["train.features"].half()
    loaded = load_features(written(tmp_path / "half.safetensors", content))
    assert loaded.train.features.dtype == torch.float32
    assert torch.equal(loaded.train.features, content["train.features"].float())


def test_shards_join_in_the_order_of_their_names(tmp_path: Path) -> None:
    whole = tensors()
    for number, rows in enumerate((slice(0, 5), slice(5, 12))):
        part = {name: value[rows].clone() for name, value in whole.items() if "train" in name}
        if number == 1:
            part |= {name: value for name, value in whole.items() if "val" in name}
        written(tmp_path / f"part-{number}.safetensors", part)
    loaded = load_features(str(tmp_path))
    assert torch.equal(loaded.train.features, whole["train.features"])
    assert torch.equal(loaded.val.labels, whole["val.labels"])


def spoiled(name: str, value: object) -> dict[str, Tensor]:
    content = tensors()
    if value is None:
        del content[name]
    elif callable(value):
        content[name] = value(content[name])
    return content


def with_value(number: float):
    def put(features: Tensor) -> Tensor:
        features = features.clone()
        features[3, 1] = number
        return features

    return put


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("train.features", with_value(float("nan")), "NaN or infinity, first in row 3"),
        ("val.features", with_value(float("inf")), "val.features has NaN or infinity"),
        ("train.features", lambda x: x.long(), "give floats"),
        ("train.labels", lambda x: x.float(), "give integers"),
        ("train.labels", lambda x: x - 1, "negative"),
        ("train.labels", torch.zeros_like, "one class"),
        ("val.labels", lambda x: x + 5, "labels run from 0"),
        ("val.features", lambda x: x[:, :3].clone(), "3 wide"),
        ("val.features", lambda x: x[:4].clone(), "do not fit"),
        ("train.features", lambda x: x.unsqueeze(0), "do not fit"),
        ("val.labels", None, "lacks val.labels"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    name: str, value: object, words: str, tmp_path: Path
) -> None:
    source = written(tmp_path / "spoiled.safetensors", spoiled(name, value))
    with pytest.raises(GeoBasinError, match=words) as caught:
        load_features(source)
    assert "\n" not in str(caught.value)


def test_splits_and_rows_must_be_there(tmp_path: Path) -> None:
    train_only = {name: value for name, value in tensors().items() if "train" in name}
    with pytest.raises(GeoBasinError, match=r"no val\.features"):
        load_features(written(tmp_path / "train-only.safetensors", train_only))
    empty = {name: value[:0].clone() for name, value in tensors().items()}
    with pytest.raises(GeoBasinError, match="empty"):
        load_features(written(tmp_path / "empty.safetensors", empty))


def test_class_names_come_from_the_metadata(tmp_path: Path) -> None:
    names = ["ant", "bee", "cat"]
    source = written(tmp_path / "named.safetensors", tensors(), class_names=json.dumps(names))
    assert load_features(source).class_names == tuple(names)
    for bad in ("[", '"ant"', '["ant"]'):
        source = written(tmp_path / "bad.safetensors", tensors(), class_names=bad)
        with pytest.raises(GeoBasinError):
            load_features(source)


def test_what_is_not_there_or_not_safetensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="no features at"):
        load_features(str(tmp_path / "missing.safetensors"))
    (tmp_path / "text.safetensors").write_text("not tensors")
    with pytest.raises(GeoBasinError, match="cannot read"):
        load_features(str(tmp_path / "text.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(GeoBasinError, match="no \\.safetensors shards"):
        load_features(str(tmp_path / "empty"))
