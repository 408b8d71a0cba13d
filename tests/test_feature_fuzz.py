"""Spoiled feature files, shards and tables: a set that can be trained on, or one line of ours."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geobasin.columns import Columns
from geobasin.errors import GeoBasinError
from geobasin.features import load_features, synthetic
from geobasin.shards import write_shards

FEATURES = synthetic(classes=3, feature_dim=4, rows_per_class=8)
ENDINGS = (".safetensors", ".parquet", ".arrow")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files every example writes anew."""
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("valid")
    FEATURES.save(folder / "f.safetensors")
    rows = list(FEATURES.train.features.numpy())
    content = pa.table({"emb": rows, "label": FEATURES.train.labels.numpy()})
    pq.write_table(content, folder / "f.parquet")
    with pa.ipc.new_file(str(folder / "f.arrow"), content.schema) as writer:
        writer.write_table(content)
    return {ending: (folder / f"f{ending}").read_bytes() for ending in ENDINGS}


def try_to_use(source: Path, ending: str, memory: int = 2**31) -> None:
    """Load and go through all rows once: all finite and in range, or refused in one line."""
    columns = None if ending == ".safetensors" else Columns("emb", "label")
    refused = None
    try:
        features = load_features(str(source), columns, memory=memory)
    except GeoBasinError as error:
        refused = str(error)
    if refused is not None:
        assert len(refused.splitlines()) == 1
        return
    for split in features.splits().values():
        for rows, labels in split.batches(7, torch.Generator().manual_seed(0)):
            assert rows.shape == (len(labels), features.feature_dim)
            assert bool(torch.isfinite(rows).all())
            assert int(labels.min()) >= 0
            assert int(labels.max()) < features.num_classes


@given(content=st.binary(max_size=400), ending=st.sampled_from(ENDINGS))
def test_any_bytes(place: Path, content: bytes, ending: str) -> None:
    path = place / f"any{ending}"
    path.write_bytes(content)
    try_to_use(path, ending)


damage = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, faults: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, extra in faults:
        at = int(share * len(content))
        if kind == "flip":
            changed = bytes(a ^ b for a, b in zip(content[at:], extra, strict=False))
            content = content[:at] + changed + content[at + len(changed) :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + extra + content[at:]
        else:
            content = content[:at] + content
    return content


@settings(max_examples=150)
@given(faults=damage, ending=st.sampled_from(ENDINGS), memory=st.sampled_from([0, 2**31]))
def test_damaged_files(
    place: Path,
    valid: dict[str, bytes],
    faults: list[tuple[str, float, bytes]],
    ending: str,
    memory: int,
) -> None:
    path = place / f"damaged{ending}"
    path.write_bytes(damaged(valid[ending], faults))
    try_to_use(path, ending, memory)


number = st.one_of(st.integers(-2, 12), st.sampled_from([2**31, 2**62, 2**64, -(2**63)]))
kinds = [
    "F16",
    "BF16",
    "F32",
    "F64",
    "I64",
    "I32",
    "U8",
    "U64",
    "BOOL",
    "F8_E4M3",
    "F4",
    "C64",
    "X",
]
entry = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(kinds),
        "shape": st.lists(number, max_size=3),
        "data_offsets": st.lists(number, min_size=2, max_size=2),
    }
)
names = [f"{split}.{part}" for split in ("train", "val", "test") for part in ("features", "labels")]
header = st.dictionaries(st.sampled_from([*names, "other"]), entry, max_size=5)
words = st.dictionaries(st.sampled_from(["class_names", "name"]), st.text(max_size=8), max_size=2)


@given(header=header, metadata=words, body=st.binary(max_size=64))
def test_any_header(
    place: Path, header: dict[str, object], metadata: dict[str, str], body: bytes
) -> None:
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    path = place / "header.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    try_to_use(path, ".safetensors")


# What torch can be given for features and labels: of any type, shape and content.
floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn)
others = (torch.int64, torch.int8, torch.uint8, torch.bool, torch.uint64)
types = st.sampled_from([*floats, *others])
shapes = st.sampled_from([(0,), (6,), (7,), (6, 2), (6, 0), (0, 2), (6, 3), (6, 1, 2), ()])
contents = st.sampled_from([0.0, 1.0, -1.0, 2.0, 300.0, 70000.0, float("nan"), float("inf")])
tensor = st.tuples(types, shapes, st.lists(contents, min_size=1, max_size=6))


@given(
    shards=st.lists(
        st.dictionaries(st.sampled_from(names), tensor, max_size=6), min_size=1, max_size=2
    ),
    memory=st.sampled_from([0, 2**31]),
)
def test_any_tensors_in_any_shards(
    tmp_path_factory: pytest.TempPathFactory,
    shards: list[dict[str, tuple[torch.dtype, tuple[int, ...], list[float]]]],
    memory: int,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    for number, shard in enumerate(shards):
        tensors = {}
        for name, (dtype, shape, values) in shard.items():
            count = torch.Size(shape).numel()
            cyclic = (values * (count // len(values) + 1))[:count]
            tensors[name] = torch.tensor(cyclic, dtype=torch.float64).reshape(shape).to(dtype)
        save_file(tensors, folder / f"{number}.safetensors")
    try_to_use(folder, ".safetensors", memory)


@settings(max_examples=40)
@given(plan=st.binary(max_size=60), seal=st.booleans())
def test_any_record_of_an_extraction(
    tmp_path_factory: pytest.TempPathFactory, plan: bytes, seal: bool
) -> None:
    folder = tmp_path_factory.mktemp("extraction") / "shards"
    write_shards(FEATURES, folder, rows=100)
    (folder / "extraction.json").write_bytes(plan)
    if seal:
        (folder / "SHA512SUMS").write_text("")
    try_to_use(folder, ".safetensors")
