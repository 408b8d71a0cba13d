"""Whole files or none: atomic writes, and strict JSON."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geobasin.errors import GeoBasinError

_PARTIAL = ".part"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it takes the name ``path`` at once.

    Args:
        path: the file to be written; its folder is made where it is missing.

    Yields:
        A path in the same folder to write to. If the block raises, that file is removed and
        ``path`` stays as it was.

    Raises:
        GeoBasinError: the file system refuses the write (no space, no permission, ...).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_PARTIAL, f".{path.name}.", path.parent)
        os.close(handle)
    except OSError as error:
        raise GeoBasinError(
            f"cannot write {path}: {error.strerror}; choose another folder"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp files are private to their owner; a result is meant to be read.
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise GeoBasinError(
            f"cannot write {path}: {error.strerror}; free some space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def clear_partial(folder: Path) -> None:
    """Remove what a killed process left of its atomic writes.

    Args:
        folder: whose temporary files nobody is writing any more; those below it are left.

    Raises:
        GeoBasinError: the file system refuses.
    """
    try:
        for leftover in folder.glob(f".*{_PARTIAL}"):
            leftover.unlink()
    except OSError as error:
        raise GeoBasinError(f"cannot clear {folder}: {error.strerror}; check its rights") from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8 with LF line ends, atomically.

    Args:
        path: the file.
        text: its whole content.

    Raises:
        GeoBasinError: the file system refuses the write.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode())


def canonical_json(value: Any) -> str:
    """Encode ``value`` as strict JSON on one line.

    Args:
        value: dicts, lists, strings, finite numbers, booleans and None.

    Returns:
        JSON in the order of the keys given, UTF-8 kept as it is.

    Raises:
        GeoBasinError: the value holds NaN or an infinity, which JSON cannot say.
    """
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False)
    except ValueError as error:
        raise GeoBasinError(f"cannot write a number as JSON: {error}; unknown is null") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` as indented strict JSON, atomically.

    Args:
        path: the file.
        value: as for :func:`canonical_json`.

    Raises:
        GeoBasinError: NaN or infinity in the value, or the file system refuses the write.
    """
    canonical_json(value)
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read strict JSON from ``path``.

    Args:
        path: a UTF-8 JSON file.

    Returns:
        The value in it.

    Raises:
        GeoBasinError: no such file, not UTF-8, not JSON, or NaN or an infinity in it.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(path.read_bytes().decode(), parse_constant=refuse)
    except OSError as error:
        raise GeoBasinError(f"cannot read {path}: {error.strerror}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise GeoBasinError(f"{path} is not strict JSON: {error}; write it again") from error
