"""A seal is checked against coreutils, and against every way of spoiling it we could think of."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geobasin.errors import GeoBasinError
from geobasin.seal import MANIFEST, Difference, Kind, require_verified, seal, verify

FILES = {
    "README.md": b"# A run\n",
    "events.out.tfevents.1": b"",
    "log.jsonl": b'{"step": 1}\n{"step": 2}\n',
    "weights/a b.safetensors": bytes(range(256)),
    "weights/deep/er/notes.txt": "Psi and Omega, naïve café\n".encode(),
    "weights/SHA512SUMS": b"a manifest further down is a file like any other\n",
}


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    directory = write(tmp_path / "run", FILES)
    seal(directory)
    return directory


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder that anybody may enter, and no right to read what is closed to its owner."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield directory
    finally:
        if root:
            os.seteuid(0)
        subprocess.run(["chmod", "-R", "u+rwX", directory], check=True)
        shutil.rmtree(directory)


def coreutils(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha512sum", "--check", "--strict", MANIFEST],
        cwd=directory,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )


def kinds(directory: Path) -> set[tuple[str, Kind]]:
    return {(difference.path, difference.kind) for difference in verify(directory)}


def edit(directory: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    manifest = directory / MANIFEST
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(change(lines)))


def test_manifest_is_what_the_format_says(tmp_path: Path) -> None:
    directory = write(tmp_path, FILES)
    assert seal(directory) == directory / MANIFEST
    expected = "".join(
        f"{hashlib.sha512(FILES[name]).hexdigest()}  {name}\n"
        for name in sorted(FILES, key=str.encode)
    )
    assert (directory / MANIFEST).read_bytes() == expected.encode()
    assert verify(directory) == []
    require_verified(directory)


def test_coreutils_agrees(sealed: Path) -> None:
    good = coreutils(sealed)
    assert good.returncode == 0, good.stderr
    assert good.stdout.count(": OK\n") == len(FILES)
    (sealed / "log.jsonl").write_bytes(b'{"step": 1}\n{"step": 3}\n')
    bad = coreutils(sealed)
    assert bad.returncode == 1
    assert "log.jsonl: FAILED" in bad.stdout


def test_sealing_twice_changes_nothing_and_a_new_file_is_taken_in(sealed: Path) -> None:
    before = (sealed / MANIFEST).read_bytes()
    seal(sealed)
    assert (sealed / MANIFEST).read_bytes() == before
    (sealed / "late.txt").write_bytes(b"late")
    assert kinds(sealed) == {("late.txt", Kind.UNLISTED)}
    seal(sealed)
    assert verify(sealed) == []


# Names that Linux allows and a manifest can hold: anything printable, blanks and stars included.
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/\\\ufffd"),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in {".", ".."} and len(name.encode()) < 200)


def as_one_name(file: tuple[str, bytes]) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", file[0]).casefold())


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(
        st.tuples(names, st.binary(max_size=50)), min_size=1, max_size=6, unique_by=as_one_name
    ).map(dict)
)
def test_coreutils_reads_the_manifest_of_any_folder(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = write(Path(folder), files)
        seal(directory)
        assert verify(directory) == []
        result = coreutils(directory)
        assert result.returncode == 0, result.stderr


@settings(
    max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_flipped_bit_is_missed(sealed: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([MANIFEST, *(name for name in FILES if FILES[name])]))
    path = sealed / name
    good = path.read_bytes()
    # Half of the manifest is digests; drawing the byte uniformly reaches names and blanks too.
    place = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[place // 8] ^= 1 << (place % 8)
    path.write_bytes(bad)
    try:
        differences = verify(sealed)
    finally:
        path.write_bytes(good)
    assert differences
    if name != MANIFEST:
        assert differences == [Difference(name, Kind.ALTERED)]


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path: Path) -> None:
    directory = write(tmp_path, {"a.txt": b"a", "b/c.txt": b"c"})
    good = seal(directory).read_bytes()
    missed = []
    for place in range(8 * len(good)):
        bad = bytearray(good)
        bad[place // 8] ^= 1 << (place % 8)
        (directory / MANIFEST).write_bytes(bad)
        if not verify(directory):
            missed.append(place)
    assert missed == []


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_other_content_passes(sealed: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([MANIFEST, *FILES]))
    path = sealed / name
    good = path.read_bytes()
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    bad = good[:start] + data.draw(st.binary(max_size=8)) + good[stop:]
    path.write_bytes(bad)
    try:
        differences = verify(sealed)
    finally:
        path.write_bytes(good)
    assert bool(differences) == (bad != good)


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=400))
def test_any_manifest_is_read_without_a_fall(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        directory = write(Path(folder), {"a": b"a", MANIFEST: content})
        assert verify(directory)


def test_truncated(sealed: Path) -> None:
    path = sealed / "weights/a b.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert kinds(sealed) == {("weights/a b.safetensors", Kind.ALTERED)}


def test_appended(sealed: Path) -> None:
    with (sealed / "events.out.tfevents.1").open("ab") as file:
        file.write(b"\n")
    assert kinds(sealed) == {("events.out.tfevents.1", Kind.ALTERED)}


def test_renamed(sealed: Path) -> None:
    (sealed / "README.md").rename(sealed / "README.txt")
    assert kinds(sealed) == {("README.md", Kind.MISSING), ("README.txt", Kind.UNLISTED)}


def test_two_files_swapped(sealed: Path) -> None:
    one, other = sealed / "README.md", sealed / "log.jsonl"
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)
    assert kinds(sealed) == {("README.md", Kind.ALTERED), ("log.jsonl", Kind.ALTERED)}


def test_deleted(sealed: Path) -> None:
    (sealed / "log.jsonl").unlink()
    assert kinds(sealed) == {("log.jsonl", Kind.MISSING)}


def test_added_anywhere(sealed: Path) -> None:
    write(sealed, {"weights/deep/new/x": b"", ".hidden": b""})
    assert kinds(sealed) == {("weights/deep/new/x", Kind.UNLISTED), (".hidden", Kind.UNLISTED)}


def test_every_difference_is_named_at_once(sealed: Path) -> None:
    (sealed / "README.md").write_bytes(b"other")
    (sealed / "log.jsonl").unlink()
    (sealed / "new").write_bytes(b"")
    assert [str(difference) for difference in verify(sealed)] == [
        "README.md: altered",
        "log.jsonl: missing",
        "new: unlisted",
    ]


def test_file_replaced_by_a_link_to_the_same_bytes(sealed: Path, tmp_path: Path) -> None:
    (sealed / "README.md").rename(tmp_path / "elsewhere")
    (sealed / "README.md").symlink_to(tmp_path / "elsewhere")
    assert kinds(sealed) == {("README.md", Kind.NOT_PLAIN)}


def test_folder_replaced_by_a_link_to_the_same_folder(sealed: Path, tmp_path: Path) -> None:
    (sealed / "weights").rename(tmp_path / "elsewhere")
    (sealed / "weights").symlink_to(tmp_path / "elsewhere")
    assert ("weights", Kind.NOT_PLAIN) in kinds(sealed)


def test_file_replaced_by_a_folder(sealed: Path) -> None:
    (sealed / "README.md").unlink()
    (sealed / "README.md").mkdir()
    assert kinds(sealed) == {("README.md", Kind.MISSING)}


def test_manifest_replaced_by_a_link_to_itself_elsewhere(sealed: Path, tmp_path: Path) -> None:
    (sealed / MANIFEST).rename(tmp_path / "elsewhere")
    (sealed / MANIFEST).symlink_to(tmp_path / "elsewhere")
    assert kinds(sealed) == {(MANIFEST, Kind.NOT_PLAIN)}


def test_manifest_gone(sealed: Path) -> None:
    (sealed / MANIFEST).unlink()
    assert kinds(sealed) == {(MANIFEST, Kind.MISSING)}


def test_pipe_and_socket_are_not_waited_for(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The address of a socket may not be long, so that it is given from within the folder.
    monkeypatch.chdir(sealed)
    os.mkfifo(sealed / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert kinds(sealed) == {("pipe", Kind.NOT_PLAIN), ("socket", Kind.NOT_PLAIN)}


def test_case_clash(sealed: Path) -> None:
    write(sealed, {"Weights/deep/x": b""})
    assert ("weights", Kind.CASE_CLASH) in kinds(sealed)


def test_lines_reordered(sealed: Path) -> None:
    edit(sealed, lambda lines: [lines[1], lines[0], *lines[2:]])
    assert kinds(sealed) == {("README.md", Kind.UNSORTED)}


def test_line_twice(sealed: Path) -> None:
    edit(sealed, lambda lines: [lines[0], *lines])
    assert kinds(sealed) == {("README.md", Kind.DUPLICATE)}


def test_line_removed(sealed: Path) -> None:
    edit(sealed, lambda lines: lines[1:])
    assert kinds(sealed) == {("README.md", Kind.UNLISTED)}


def test_carriage_returns(sealed: Path) -> None:
    edit(sealed, lambda lines: [line.replace(b"\n", b"\r\n") for line in lines])
    assert kinds(sealed) == {(MANIFEST, Kind.CARRIAGE_RETURN)}
    assert len(verify(sealed)) == len(FILES)


def test_final_newline_gone(sealed: Path) -> None:
    edit(sealed, lambda lines: [*lines[:-1], lines[-1].rstrip(b"\n")])
    assert verify(sealed) == [Difference(MANIFEST, Kind.NO_FINAL_NEWLINE, len(FILES))]


@pytest.mark.parametrize(
    "path", ["../outside", "weights/../README.md", "/etc/passwd", "..", "weights/deep/../../../x"]
)
def test_path_that_leaves_the_folder_is_refused(sealed: Path, path: str) -> None:
    (sealed.parent / "outside").write_bytes(b"")
    line = f"{hashlib.sha512(b'').hexdigest()}  {path}\n".encode()
    edit(sealed, lambda lines: sorted([*lines, line], key=lambda line: line[130:]))
    assert kinds(sealed) == {(path, Kind.LEAVES_FOLDER)}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not a line",
        b"0" * 127 + b"  zz",
        b"0" * 128 + b" *zz",
        b"A" * 128 + b"  zz",
        b"0" * 128 + b"  ",
        b"0" * 128 + b"  ./zz",
        b"0" * 128 + b"  weights//zz",
        b"0" * 128 + b"  weights/",
        b"0" * 128 + b"  z\x00z",
        b"0" * 128 + b"  z\xff",
        b"0" * 128 + b"  SHA512SUMS",
        b"\\" + b"0" * 128 + b"  z\\nz",
        b"\xef\xbb\xbf" + b"0" * 128 + b"  zz",
    ],
)
def test_line_that_is_no_line(sealed: Path, line: bytes) -> None:
    edit(sealed, lambda lines: [*lines, line + b"\n"])
    assert verify(sealed) == [Difference(MANIFEST, Kind.MALFORMED, len(FILES) + 1)]


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_empty_manifest(sealed: Path, content: bytes) -> None:
    (sealed / MANIFEST).write_bytes(content)
    assert {name for name, kind in kinds(sealed) if kind is Kind.UNLISTED} == set(FILES)
    assert len(kinds(sealed)) == len(FILES) + 1


def test_unreadable_file_and_folder(unprivileged: Path) -> None:
    directory = write(unprivileged, FILES)
    seal(directory)
    (directory / "README.md").chmod(0)
    (directory / "weights/deep").chmod(0)
    assert kinds(directory) == {
        ("README.md", Kind.UNREADABLE),
        ("weights/deep", Kind.UNREADABLE),
        ("weights/deep/er/notes.txt", Kind.UNREADABLE),
    }
    with pytest.raises(GeoBasinError, match=re.escape("README.md: unreadable")):
        seal(directory)
    with pytest.raises(GeoBasinError, match="Permission denied"):
        verify(directory / "weights/deep/er")


def test_unreadable_manifest(unprivileged: Path) -> None:
    seal(write(unprivileged, {"a": b"a"})).chmod(0)
    assert verify(unprivileged) == [Difference(MANIFEST, Kind.UNREADABLE)]


@pytest.mark.parametrize("name", ["new\nline", "back\\slash", "carriage\rreturn", "bell\x07"])
def test_name_no_manifest_can_hold(tmp_path: Path, name: str) -> None:
    write(tmp_path, {"a": b"a"})
    seal(tmp_path)
    (tmp_path / name).write_bytes(b"")
    assert kinds(tmp_path) == {(name, Kind.BAD_NAME)}
    with pytest.raises(GeoBasinError, match="cannot hold") as caught:
        seal(tmp_path)
    assert str(caught.value).isprintable()


def test_name_outside_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(GeoBasinError, match=re.escape("caf\\udce9: a name that a manifest")):
        seal(tmp_path)


@pytest.mark.parametrize("pair", [("a", "A"), ("straße", "STRASSE"), ("é", "e\u0301")])
def test_case_clash_is_not_sealed(tmp_path: Path, pair: tuple[str, str]) -> None:
    write(tmp_path, dict.fromkeys(pair, b""))
    with pytest.raises(GeoBasinError, match="but for its case"):
        seal(tmp_path)


def test_name_that_clashes_with_the_manifest_is_not_sealed(tmp_path: Path) -> None:
    write(tmp_path, {"sha512sums": b""})
    with pytest.raises(GeoBasinError, match="but for its case"):
        seal(tmp_path)


def test_links_are_not_sealed(tmp_path: Path) -> None:
    write(tmp_path, {"a": b""})
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(GeoBasinError, match="link: not a plain file"):
        seal(tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_empty_folder_is_not_sealed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GeoBasinError, match="holds no file"):
        seal(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    for act in (seal, verify, require_verified):
        with pytest.raises(GeoBasinError, match="no folder"):
            act(tmp_path / "nowhere")


def test_require_verified_names_the_first_files(sealed: Path) -> None:
    for name in FILES:
        (sealed / name).write_bytes(b"other")
    with pytest.raises(GeoBasinError) as caught:
        require_verified(sealed)
    message = str(caught.value)
    first = sorted(FILES)[:3]
    assert all(f"{name}: altered" in message for name in first)
    assert "and 3 more" in message
    assert "\n" not in message
