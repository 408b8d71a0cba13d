"""Tensors on disk, as safetensors whose bytes follow from what is in them; nothing is pickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from geobasin.errors import GeoBasinError
from geobasin.files import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and words about them to a safetensors file, atomically.

    The library writes the metadata in an order that changes from call to call; here they are
    sorted, so that equal content has equal bytes and one digest.

    Args:
        path: the file.
        tensors: by name, of any shape and type; copied to the CPU.
        metadata: text by name.

    Raises:
        GeoBasinError: the file system refuses the write.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Written by the library itself the file would have a temporary name of the library's choice,
    # and nobody would know it for a leftover when the process is killed.
    data = memoryview(save(stored, metadata=dict(metadata)))
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    header["__metadata__"] = dict(sorted(metadata.items()))
    words = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    padded = words.ljust(-(-len(words) // 8) * 8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(len(padded).to_bytes(8, "little"))
        file.write(padded)
        file.write(data[8 + size :])


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file; its tensors are memory-mapped, so that rows are read when used.

    Args:
        path: the file.

    Returns:
        Tensors by name, on the CPU, and the file's metadata.

    Raises:
        GeoBasinError: no such file, or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    # Damaged headers can name types and shapes that fail anywhere in the two libraries.
    except Exception as error:
        raise GeoBasinError(
            f"cannot read {path} as safetensors: {error}; check the path, or write it again"
        ) from error


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file.

    Args:
        path: the file.

    Returns:
        Tensors by name, on the CPU, for ``model.load_state_dict``.

    Raises:
        GeoBasinError: no such file, or not safetensors.
    """
    return read_tensors(Path(path))[0]


def content_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Digest tensors and words about them.

    Args:
        tensors: by name, of any shape and type, on the CPU.
        text: the words.

    Returns:
        SHA-512 in hexadecimal of the words, then of each tensor's name, type, shape and bytes in
        the order of the names.
    """
    digest = hashlib.sha512(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
