"""Atomic writes and strict JSON."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geobasin.errors import GeoBasinError
from geobasin.files import (
    atomic_path,
    canonical_json,
    clear_partial,
    read_json,
    write_json,
    write_text,
)

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(documents)
def test_json_comes_back_as_it_went(tmp_path_factory, document) -> None:
    path = tmp_path_factory.mktemp("json") / "document.json"
    write_json(path, document)
    assert read_json(path) == document


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_holds_no_unknown_numbers(number: float, tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="unknown is null"):
        write_json(tmp_path / "x.json", {"loss": [number]})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "NaN", '{"a": Infinity}', "\xff", "[" * 100_000])
def test_what_is_not_strict_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(GeoBasinError, match="not strict JSON"):
        read_json(tmp_path / "x.json")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    write_text(path, "first\n")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the sec")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "first\n"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_known_and_cleared(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    writer = f"""
import os, signal
from pathlib import Path
from geobasin.files import atomic_path
with atomic_path(Path({str(path)!r})) as temporary:
    temporary.write_text("half of the sec")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", writer], check=False)
    assert done.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    assert leftover != path
    for name in ("mine.part", ".hidden", ".part.txt"):
        (tmp_path / name).write_text("")
    clear_partial(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"mine.part", ".hidden", ".part.txt"}


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeoBasinError, match="cannot write") as caught:
        write_text(tmp_path / "file" / "below.txt", "")
    assert "\n" not in str(caught.value)


def test_keys_keep_their_order() -> None:
    assert canonical_json({"b": 1, "a": "é"}) == '{"b": 1, "a": "é"}'
