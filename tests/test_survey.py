"""One pass over a set: the digest from its definition, and rows counted by comparing them all."""

import hashlib

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geobasin.features import digits, synthetic
from geobasin.split import Split
from geobasin.stored import StoredSplit
from geobasin.survey import shared_rows, survey

# Few values, so that rows are often alike, and zero in both its signs.
value = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5])
rows = st.lists(st.tuples(value, value), min_size=1, max_size=30)


def split(values: list[tuple[float, float]]) -> Split:
    return Split(torch.tensor(values), torch.zeros(len(values), dtype=torch.int64))


@given(train=rows, val=rows, test=rows)
def test_shared_rows_are_those_that_equal_a_training_row(
    train: list[tuple[float, float]],
    val: list[tuple[float, float]],
    test: list[tuple[float, float]],
) -> None:
    splits = {"train": split(train), "val": split(val), "test": split(test)}
    expected = {
        name: int((part.features[:, None] == splits["train"].features).all(-1).any(-1).sum())
        for name, part in splits.items()
        if name != "train"
    }
    assert shared_rows(splits) == expected
    assert survey(splits).shared_rows == expected


def test_digest_is_sha512_of_names_types_shapes_and_bytes() -> None:
    features = synthetic(classes=3, feature_dim=4, rows_per_class=8)
    digest = hashlib.sha512()
    for name, part in features.splits().items():
        for tensor in (part.features, part.labels):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.numpy().tobytes())
    assert features.digest() == digest.hexdigest()


def test_rows_on_disk_have_the_digest_of_the_same_rows_in_memory() -> None:
    values = torch.randn(9000, 5, generator=torch.Generator().manual_seed(0)).half()
    labels = torch.arange(9000) % 7
    values[5000, 2] = float("nan")
    kept: dict[str, Split] = {"train": StoredSplit(values.split([4000, 5000]), labels)}
    read: dict[str, Split] = {"train": Split(values.float(), labels)}
    assert survey(kept) == survey(read)
    assert survey(kept).unusable == {"train": 5000}


def test_a_copied_row_is_found_among_digits() -> None:
    features = digits()
    assert features.shared_rows() == {"val": 0, "test": 0}
    chosen: Tensor = features.train.features[[7, 70]]
    features.test.features[3:5] = chosen
    assert features.shared_rows() == {"val": 0, "test": 2}
    assert features.describe("digits")["shared_rows"] == {"val": 0, "test": 2}
