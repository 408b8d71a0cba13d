"""Equal content, equal bytes, and what the safetensors library reads back."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from geobasin.errors import GeoBasinError
from geobasin.tensors import save_tensors

words = st.text(st.characters(codec="utf-8"), max_size=12)


@settings(max_examples=100, deadline=None)
@given(metadata=st.dictionaries(words, words, max_size=6))
def test_any_metadata_comes_back_and_the_bytes_do_not_change(
    metadata: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tensors")
    tensors = {"b": torch.arange(6.0).view(2, 3).T, "a": torch.tensor([1, -2]), "é": torch.ones(())}
    versions = []
    for turn in range(3):
        path = folder / f"{turn}.safetensors"
        order = list(metadata) if turn else list(reversed(metadata))
        save_tensors(path, tensors, {name: metadata[name] for name in order})
        versions.append(path.read_bytes())
    assert len(set(versions)) == 1
    read = load_file(folder / "0.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    with safe_open(folder / "0.safetensors", framework="pt") as file:
        assert (file.metadata() or {}) == metadata


def test_length_of_the_file_is_that_of_the_library(tmp_path: Path) -> None:
    metadata = {'"quoted"\n\t\b\f\r\x00\x1f\x7f': "\\/ \u2028 é 🌀", "b": "", "a": "x"}
    save_tensors(tmp_path / "a", {"t": torch.ones(3)}, metadata)
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + 12
    with safe_open(tmp_path / "a", framework="pt") as file:
        assert file.metadata() == metadata


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GeoBasinError, match="cannot write"):
        save_tensors(tmp_path / "file" / "x", {"t": torch.ones(3)}, {})
