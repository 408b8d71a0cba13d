"""Tables by the names of their columns: what pyarrow wrote is what is trained on."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from geobasin.__main__ import main
from geobasin.columns import Columns, split_of
from geobasin.errors import GeoBasinError
from geobasin.features import load_features, synthetic

FEATURES = synthetic(classes=4, feature_dim=5, rows_per_class=25)
COLUMNS = Columns("emb", "label")
WORDS = ("ant", "bee", "cat", "dog")


def table(split: str, kind: Any = None, words: bool = False, **extra: Any) -> pa.Table:
    part = FEATURES.splits()[split]
    rows = part.features.numpy()
    labels = part.labels.tolist()
    return pa.table(
        {
            "emb": pa.array(list(rows), kind or pa.list_(pa.float32())),
            "label": [WORDS[label] for label in labels] if words else labels,
            **{name: [value] * len(labels) for name, value in extra.items()},
        }
    )


def same_rows(found: Any, original: Any) -> None:
    assert torch.equal(found.features, original.features)
    assert torch.equal(found.labels, original.labels)


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 5),
        pa.large_list(pa.float64()),
        pa.fixed_shape_tensor(pa.float32(), (5,)),
    ],
    ids=str,
)
def test_every_kind_of_list_of_floats(tmp_path: Path, kind: Any) -> None:
    plain = pa.list_(pa.float32(), 5)
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        content = table(split, plain)
        column = content.column("emb").combine_chunks()
        cast = (
            pa.ExtensionArray.from_storage(kind, column)
            if isinstance(kind, pa.ExtensionType)
            else column.cast(kind)
        )
        content = content.set_column(0, "emb", cast)
        pq.write_table(content, tmp_path / f"{name}-00000-of-00001.parquet", row_group_size=7)
    loaded = load_features(str(tmp_path), COLUMNS)
    for split, part in FEATURES.splits().items():
        same_rows(loaded.splits()[split], part)
    assert loaded.class_names == tuple(f"class {index}" for index in range(4))
    assert loaded.origin["splits"] == "named by the source"


def test_a_column_can_tell_the_splits_and_words_the_classes(tmp_path: Path) -> None:
    kinds = {"train": "train", "val": "Validation", "test": "test"}
    tables = [table(split, words=True, part=word) for split, word in kinds.items()]
    pq.write_table(pa.concat_tables(tables), tmp_path / "all.parquet")
    loaded = load_features(str(tmp_path / "all.parquet"), Columns("emb", "label", "part"))
    assert loaded.class_names == WORDS
    for split, part in FEATURES.splits().items():
        same_rows(loaded.splits()[split], part)


def saved_to_disk(folder: Path) -> None:
    """The layout of ``DatasetDict.save_to_disk``, caches that ``map`` leaves included."""
    told = {"info": {"features": {"label": {"names": list(WORDS), "_type": "ClassLabel"}}}}
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        content = table(split).replace_schema_metadata({"huggingface": json.dumps(told)})
        (folder / name).mkdir(parents=True)
        cached = "cache-0123456789abcdef.arrow"
        for file, rows in (("data-00000-of-00001.arrow", content), (cached, content[:3])):
            with (
                pa.OSFile(str(folder / name / file), "wb") as sink,
                pa.ipc.new_stream(sink, rows.schema) as writer,
            ):
                writer.write_table(rows, max_chunksize=9)


def test_what_datasets_saves_to_disk(tmp_path: Path) -> None:
    saved_to_disk(tmp_path / "saved")
    loaded = load_features(str(tmp_path / "saved"), COLUMNS)
    assert loaded.class_names == WORDS
    for split, part in FEATURES.splits().items():
        same_rows(loaded.splits()[split], part)


def test_an_arrow_file_in_the_file_format(tmp_path: Path) -> None:
    with pa.ipc.new_file(str(tmp_path / "f.arrow"), table("train").schema) as writer:
        writer.write_table(table("train"))
    loaded = load_features(str(tmp_path / "f.arrow"), COLUMNS)
    assert sum(len(split) for split in loaded.splits().values()) == len(FEATURES.train)


def test_without_named_splits_a_tenth_each_is_drawn_and_said(tmp_path: Path) -> None:
    pq.write_table(table("train"), tmp_path / "rows.parquet")
    loaded = load_features(str(tmp_path / "rows.parquet"), COLUMNS)
    assert [len(split) for split in loaded.splits().values()] == [80, 10, 10]
    rows = torch.cat([split.features for split in loaded.splits().values()])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, FEATURES.train.features.tolist()))
    assert loaded.describe("x")["splits"] == "val and test drawn with seed 0, 10% of the rows each"
    again = load_features(str(tmp_path / "rows.parquet"), COLUMNS)
    assert again.digest() == loaded.digest()


def test_a_missing_val_is_drawn_from_train_and_test_is_left_alone(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        pq.write_table(table(split), tmp_path / split / "0.parquet")
    loaded = load_features(str(tmp_path), COLUMNS)
    same_rows(loaded.test, FEATURES.test)
    assert (len(loaded.train), len(loaded.val)) == (90, 10)
    assert loaded.origin["splits"].startswith("val drawn with seed 0")


def replaced(column: str, values: Any) -> pa.Table:
    content = table("train")
    return content.set_column(content.schema.get_field_index(column), column, values)


ROWS = len(FEATURES.train)
RAGGED = pa.array([[1.0] * (2 + (row == 7)) for row in range(ROWS)])
HOLED = pa.array([[1.0, None if row == 7 else 2.0] for row in range(ROWS)])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (replaced("emb", pa.array([1.0] * ROWS)), "give lists of floats"),
        (replaced("emb", pa.array([[1, 2]] * ROWS)), "give lists of floats"),
        (replaced("emb", pa.array([["a"]] * ROWS)), "give lists of floats"),
        (replaced("emb", RAGGED), "lists of 2 to 3 numbers"),
        (replaced("emb", HOLED), "missing numbers"),
        (replaced("emb", pa.array([[1.0], None] * (ROWS // 2))), "empty cells"),
        (replaced("emb", pa.array([[]] * ROWS, pa.list_(pa.float32()))), "0 wide"),
        (replaced("emb", pa.array([[float("inf")]] * ROWS)), "NaN or infinity"),
        (replaced("label", pa.array([0, None] * (ROWS // 2))), "empty cells"),
        (replaced("label", pa.array([0.5] * ROWS)), "class numbers from 0"),
        (replaced("label", pa.array([True] * ROWS)), "class numbers from 0"),
        (replaced("label", pa.array([-1, 0] * (ROWS // 2))), "negative"),
        (replaced("label", pa.array([2**40, 0] * (ROWS // 2))), "without gaps"),
        (replaced("label", pa.array([2**64 - 1] * ROWS, pa.uint64())), "negative"),
        (replaced("label", pa.array([0] * ROWS)), "one class"),
        (table("train").rename_columns(["emb", "emb"]), "2 columns 'emb'; there are: emb, emb"),
        (table("train").rename_columns(["x", "label"]), "0 columns 'emb'; there are: x, label"),
        (table("train")[:0], "has no rows"),
        (table("train")[:1], "is empty"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, content: pa.Table, words: str
) -> None:
    pq.write_table(content, tmp_path / "t.parquet")
    with pytest.raises(GeoBasinError, match=words) as caught:
        load_features(str(tmp_path / "t.parquet"), COLUMNS)
    assert "\n" not in str(caught.value)


def test_splits_that_cannot_be_told_apart(tmp_path: Path) -> None:
    for name in ("train", "rest"):
        pq.write_table(table("train"), tmp_path / f"{name}.parquet")
    with pytest.raises(GeoBasinError, match="only some files"):
        load_features(str(tmp_path), COLUMNS)
    with pytest.raises(GeoBasinError, match="names two splits, test and train"):
        split_of(Path("train/test-0.parquet"))
    pq.write_table(table("train", part="later"), tmp_path / "one.parquet")
    with pytest.raises(GeoBasinError, match="says 'later'; give train, val or test"):
        load_features(str(tmp_path / "one.parquet"), Columns("emb", "label", "part"))
    pq.write_table(table("train", part="val"), tmp_path / "one.parquet")
    with pytest.raises(GeoBasinError, match="no rows for train"):
        load_features(str(tmp_path / "one.parquet"), Columns("emb", "label", "part"))


def test_columns_must_be_named(tmp_path: Path) -> None:
    pq.write_table(table("train"), tmp_path / "t.parquet")
    with pytest.raises(GeoBasinError, match="--feature-column and --label-column"):
        load_features(str(tmp_path / "t.parquet"))


def test_without_pyarrow_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(table("train"), tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(GeoBasinError, match=r"pip install 'geobasin\[columns\]'"):
        load_features(str(tmp_path / "t.parquet"), COLUMNS)


def test_a_table_on_the_command_line_and_a_probe_that_remembers_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = pa.concat_tables([table("train"), table("train")[:40]])
    pq.write_table(copied, tmp_path / "t.parquet")
    words = ["train", "--features", str(tmp_path / "t.parquet"), "--scales", "8", "--k", "2"]
    words += ["--epochs", "1", "--out", str(tmp_path), "--device", "cpu"]
    assert main(words) == 2
    assert "name its columns" in capsys.readouterr().err
    assert main([*words, "--feature-column", "emb"]) == 2
    assert "both --feature-column and --label-column" in capsys.readouterr().err
    assert main([*words, "--feature-column", "emb", "--label-column", "label"]) == 0
    told = capsys.readouterr()
    assert "val and test drawn with seed 0" in told.err
    assert "rows have the features of a training row" in told.err
    folder = Path(told.out.strip())
    record = json.loads((folder / "train_config.json").read_text())["features"]
    assert record["columns"] == {"features": "emb", "labels": "label", "split": None}
    found = load_features(str(tmp_path / "t.parquet"), COLUMNS)
    known = {tuple(row) for row in found.train.features.tolist()}
    assert record["shared_rows"] == {
        name: sum(tuple(row) in known for row in split.features.tolist())
        for name, split in (("val", found.val), ("test", found.test))
    }
    assert sum(record["shared_rows"].values()) > 0
    assert main(["probe", str(folder)]) == 0
    assert "is not what the run was trained on" not in capsys.readouterr().err


def test_float16_lists_where_pyarrow_has_them(tmp_path: Path) -> None:
    rows = FEATURES.train.features.half().numpy()
    flat = pa.array(rows.reshape(-1), pa.float16())
    content = pa.table(
        {
            "emb": pa.FixedSizeListArray.from_arrays(flat, 5),
            "label": np.asarray(FEATURES.train.labels),
        }
    )
    with pa.ipc.new_file(str(tmp_path / "f.arrow"), content.schema) as writer:
        writer.write_table(content)
    loaded = load_features(str(tmp_path / "f.arrow"), COLUMNS)
    assert torch.equal(loaded.train.features, loaded.train.features.half().float())
