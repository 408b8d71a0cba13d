"""A sealed folder changed in any way we could think of, a thousand times: none is missed."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from geobasin.errors import GeoBasinError
from geobasin.seal import MANIFEST, require_verified, seal, verify

FILES = {
    "README.md": b"# A run\n",
    "config.json": b'{"seed": 0}\n',
    "empty": b"",
    "log.jsonl": b'{"step": 1}\n{"step": 2}\n',
    "weights/a b.safetensors": bytes(range(256)),
    "weights/deep/er/notes.txt": "naïve café\n".encode(),
}
NAMES = (*FILES, MANIFEST)
DIGEST = hashlib.sha512(b"").hexdigest()
Change = Callable[[Path, st.DataObject], None]


def some(data: st.DataObject, directory: Path, names: tuple[str, ...] = NAMES) -> Path:
    return directory / data.draw(st.sampled_from(names))


def flip(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory, tuple(name for name in NAMES if name != "empty"))
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def truncate(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory, tuple(name for name in NAMES if name != "empty"))
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])


def append(directory: Path, data: st.DataObject) -> None:
    with some(data, directory).open("ab") as file:
        file.write(data.draw(st.binary(min_size=1, max_size=9)))


def cut_out(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory, tuple(name for name in NAMES if name != "empty"))
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:start] + content[start + 1 :])


def delete(directory: Path, data: st.DataObject) -> None:
    some(data, directory).unlink()


def rename(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory)
    ending = data.draw(st.sampled_from(["~", ".bak", "\u0301", "\n", "\\", ".A"]))
    path.rename(path.with_name(path.name + ending))


def swap(directory: Path, data: st.DataObject) -> None:
    one, other = data.draw(st.lists(st.sampled_from(tuple(FILES)), min_size=2, unique=True))[:2]
    first, second = (directory / one).read_bytes(), (directory / other).read_bytes()
    (directory / one).write_bytes(second)
    (directory / other).write_bytes(first)


def unlisted(directory: Path, data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from([".hidden", "late.txt", "weights/late", "new/late", "z\udcff"])
    )
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(data.draw(st.binary(max_size=3)))


def case_clash(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory)
    path.with_name(path.name.swapcase()).write_bytes(path.read_bytes())


def link(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory)
    target = directory.parent / f"elsewhere-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def link_of_a_folder(directory: Path, data: st.DataObject) -> None:
    (directory / "weights").rename(directory.parent / "weights")
    (directory / "weights").symlink_to(directory.parent / "weights")


def pipe(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory)
    path.unlink()
    os.mkfifo(path)


def folder_in_place_of_a_file(directory: Path, data: st.DataObject) -> None:
    path = some(data, directory)
    path.unlink()
    path.mkdir()


def edited(change: Callable[[list[str], st.DataObject], list[str]]) -> Change:
    """A change of the manifest's lines."""

    def apply(directory: Path, data: st.DataObject) -> None:
        manifest = directory / MANIFEST
        lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
        manifest.write_text("".join(change(lines, data)), encoding="utf-8", newline="")

    apply.__name__ = change.__name__
    return apply


@edited
def reordered(lines: list[str], data: st.DataObject) -> list[str]:
    one, other = sorted(data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=2, max_size=2)))
    lines[one], lines[other] = lines[other], lines[one]
    return lines


@edited
def line_removed(lines: list[str], data: st.DataObject) -> list[str]:
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    return lines


@edited
def line_doubled(lines: list[str], data: st.DataObject) -> list[str]:
    place = data.draw(st.integers(0, len(lines) - 1))
    return [*lines[: place + 1], *lines[place:]]


@edited
def carriage_returns(lines: list[str], data: st.DataObject) -> list[str]:
    chosen = data.draw(st.sets(st.integers(0, len(lines) - 1), min_size=1))
    return [
        line.replace("\n", "\r\n") if place in chosen else line for place, line in enumerate(lines)
    ]


@edited
def leads_elsewhere(lines: list[str], data: st.DataObject) -> list[str]:
    path = data.draw(
        st.sampled_from(
            ["../outside", "/dev/null", "..", "weights/../empty", "./empty", "weights//x"]
        )
    )
    return sorted([*lines, f"{DIGEST}  {path}\n"], key=lambda line: line[130:])


@edited
def capitals(lines: list[str], data: st.DataObject) -> list[str]:
    place = data.draw(st.integers(0, len(lines) - 1))
    lines[place] = lines[place][:128].upper() + lines[place][128:]
    return lines


@edited
def binary_mark(lines: list[str], data: st.DataObject) -> list[str]:
    place = data.draw(st.integers(0, len(lines) - 1))
    lines[place] = lines[place].replace("  ", " *", 1)
    return lines


CHANGES: tuple[Change, ...] = (
    *(
        flip,
        flip,
        flip,
        truncate,
        append,
        cut_out,
        delete,
        rename,
        swap,
        unlisted,
        case_clash,
        link,
    ),
    *(link_of_a_folder, pipe, folder_in_place_of_a_file, reordered, line_removed, line_doubled),
    *(carriage_returns, leads_elsewhere, capitals, binary_mark),
)


@pytest.mark.fault("a seal", "any change of a sealed folder", times=1_000, campaign=5_000)
def test_no_change_of_a_sealed_folder_is_missed(fault, tmp_path: Path) -> None:
    good = tmp_path / "good"
    for name, content in FILES.items():
        (good / name).parent.mkdir(parents=True, exist_ok=True)
        (good / name).write_bytes(content)
    seal(good)
    assert verify(good) == []
    (tmp_path / "work").mkdir()

    def changed(data: st.DataObject) -> None:
        shutil.rmtree(tmp_path / "work")
        directory = tmp_path / "work" / "run"
        shutil.copytree(good, directory)
        data.draw(st.sampled_from(CHANGES))(directory, data)
        assert verify(directory)
        with pytest.raises(GeoBasinError, match="not as it was sealed"):
            require_verified(directory)

    fault.examples(st.data(), changed)


@pytest.mark.fault("a seal", "one flipped bit, told by sha512sum -c", times=10, campaign=200)
def test_coreutils_agrees(fault, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    seal(tmp_path)

    def accepts() -> bool:
        command = ["sha512sum", "--check", "--strict", "--status", MANIFEST]
        environment = os.environ | {"LC_ALL": "C.UTF-8"}
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 0

    assert accepts()

    def flipped(place: tuple[str, int]) -> None:
        name, bit = place
        path = tmp_path / name
        content = bytearray(FILES[name])
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert not accepts()
        assert [difference.path for difference in verify(tmp_path)] == [name]
        path.write_bytes(FILES[name])
        assert accepts()

    flips = st.sampled_from([name for name in FILES if FILES[name]]).flatmap(
        lambda name: st.tuples(st.just(name), st.integers(0, 8 * len(FILES[name]) - 1))
    )
    fault.examples(flips, flipped)
