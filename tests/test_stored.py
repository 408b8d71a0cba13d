"""Rows on disk give what the same rows in memory give, every row once, within bounded memory."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from geobasin.split import Split
from geobasin.stored import StoredSplit, ahead
from geobasin.tensors import read_tensors

WIDTH = 3
ROW_BYTES = 2 * WIDTH


def numbered(rows: int) -> Tensor:
    """Features that tell the number of their row, exact in half precision."""
    return torch.arange(rows).unsqueeze(1).remainder(1000).half().repeat(1, WIDTH)


def stored(sizes: list[int], block: int, window: int) -> StoredSplit:
    rows = sum(sizes)
    return StoredSplit(
        numbered(rows).split(sizes),
        torch.arange(rows),
        block_bytes=block * ROW_BYTES,
        window_bytes=window * ROW_BYTES,
    )


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


shards = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) > 0)


@given(
    sizes=shards,
    block=st.integers(1, 30),
    window=st.integers(1, 90),
    batch=st.integers(1, 50),
    seed=st.integers(0, 2**40),
    start=st.integers(0, 6),
)
def test_every_row_comes_once_in_batches_of_one_size_and_any_batch_can_be_the_first(
    sizes: list[int], block: int, window: int, batch: int, seed: int, start: int
) -> None:
    split = stored(sizes, block, window)
    batches = list(split.batches(batch, drawn(seed)))
    labels = torch.cat([answers for _, answers in batches])
    assert sorted(labels.tolist()) == list(range(sum(sizes)))
    for features, answers in batches:
        assert features.dtype == torch.float32
        assert torch.equal(features[:, 0], answers.remainder(1000).float())
    assert all(len(answers) == batch for _, answers in batches[:-1])
    again = list(split.batches(batch, drawn(seed), start))
    assert len(again) == max(len(batches) - start, 0)
    for (features, answers), (others, same) in zip(batches[start:], again, strict=True):
        assert torch.equal(answers, same)
        assert torch.equal(features, others)


@given(sizes=shards, size=st.integers(1, 50))
def test_in_order_they_are_the_rows_of_the_shards(sizes: list[int], size: int) -> None:
    split = stored(sizes, block=4, window=16)
    rows = sum(sizes)
    chunks = list(split.chunks(size))
    assert torch.equal(torch.cat([features for features, _ in chunks]), numbered(rows).float())
    assert torch.equal(torch.cat([labels for _, labels in chunks]), torch.arange(rows))
    assert torch.equal(split.features, numbered(rows).float())


def test_order_follows_from_the_generator_alone_and_mixes_far_rows() -> None:
    split = stored([700, 100, 1200], block=10, window=400)
    first, same, other = (
        torch.cat([labels for _, labels in split.batches(64, drawn(seed))]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    # A batch of 64 out of a window of 40 blocks meets most of them, wherever they lie.
    for labels in first[:1984].split(64):
        assert len(labels.div(10, rounding_mode="floor").unique()) > 20
        assert labels.max() - labels.min() > 1000


def test_a_sample_is_of_whole_rows_from_everywhere_and_always_the_same() -> None:
    sizes = [300, 0, 500, 200]
    split = stored(sizes, block=8, window=64)
    features, labels = split.sample(100)
    assert torch.equal(features[:, 0], labels.float())
    assert len(labels.unique()) == 100
    assert bool((labels.diff() > 0).all())
    ends = [0, 300, 800, 1000]
    inside = [int(((labels >= a) & (labels < b)).sum()) for a, b in pairwise(ends)]
    assert min(inside) > 10
    memory = Split(numbered(1000).float(), torch.arange(1000))
    assert torch.equal(memory.sample(100)[1], labels)
    assert torch.equal(split.sample(1000)[1], torch.arange(1000))


def test_shards_of_several_types_come_as_float32() -> None:
    rows = torch.tensor([[0.5, 1 / 3, 2.0]])
    parts = [rows.half(), rows.double(), rows, rows.bfloat16()]
    found = StoredSplit(parts, torch.zeros(4, dtype=torch.int64)).features
    assert torch.equal(found, torch.cat([part.float() for part in parts]))


def test_in_memory_batches_are_one_permutation() -> None:
    split = Split(numbered(50).float(), torch.arange(50))
    order = torch.randperm(50, generator=drawn(3))
    found = [labels for _, labels in split.batches(8, drawn(3), start=2)]
    assert torch.equal(torch.cat(found), order[16:])
    assert [len(labels) for labels in found] == [8, 8, 8, 8, 2]
    assert list(split.batches(8, drawn(3), start=7)) == []


def test_work_is_done_ahead_in_order_and_its_error_reaches_the_user() -> None:
    begun: list[int] = []

    def piece(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise OSError("no such block")
        return number

    results = ahead((lambda number=number: piece(number)) for number in range(5))
    assert next(results) == 0
    assert next(results) == 1
    assert next(results) == 2
    with pytest.raises(OSError, match="no such block"):
        next(results)
    assert begun == sorted(begun)


_MEASURE = """
import sys, torch
from pathlib import Path
from geobasin.stored import StoredSplit
from geobasin.tensors import read_tensors

def own():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

torch.set_num_threads(1)
part = read_tensors(Path(sys.argv[1]))[0]["rows"]
split = StoredSplit([part], torch.zeros(len(part), dtype=torch.int64),
                    block_bytes=2**14, window_bytes=2**22)
before, most = own(), 0
for turn in range(2):
    for features, labels in split.batches(256, torch.Generator().manual_seed(turn)):
        most = max(most, own())
for features, labels in split.chunks(4096):
    most = max(most, own())
print(most - before)
"""


def test_own_memory_is_two_windows_however_large_the_store(tmp_path: Path) -> None:
    save_file({"rows": torch.zeros(2**17, 512, dtype=torch.float16)}, tmp_path / "s.safetensors")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path / "s.safetensors")],
        capture_output=True,
        text=True,
        check=True,
    )
    # The store is 128 MiB and a window 4 MiB; chunks of 4096 rows take 12 MiB on their way.
    assert int(done.stdout) < 40 * 2**20
    assert len(read_tensors(tmp_path / "s.safetensors")[0]["rows"]) == 2**17
