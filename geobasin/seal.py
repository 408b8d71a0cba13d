"""SHA-512 manifests: a folder is sealed by listing what every file in it hashes to.

A seal shows that the files are those that were sealed. It does not show who sealed them: whoever
can write the folder can seal it again, so that the digest of the manifest belongs elsewhere too.
"""

import hashlib
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from geobasin.errors import GeoBasinError
from geobasin.files import atomic_path

MANIFEST = "SHA512SUMS"

_LINE = re.compile(r"([0-9a-f]{128})  (.+)", re.DOTALL)
_NAMED_IN_ERROR = 3


class Kind(StrEnum):
    """The ways in which a folder and its manifest can disagree."""

    ALTERED = "altered"
    MISSING = "missing"
    UNLISTED = "unlisted"
    UNREADABLE = "unreadable"
    NOT_PLAIN = "not a plain file"
    CASE_CLASH = "a name like another but for its case"
    BAD_NAME = "a name that a manifest cannot hold"
    MALFORMED = "malformed line"
    CARRIAGE_RETURN = "carriage return before the line's end"
    NO_FINAL_NEWLINE = "missing final newline"
    DUPLICATE = "listed twice"
    UNSORTED = "out of order"
    LEAVES_FOLDER = "an absolute path or one with '..'"


@dataclass(frozen=True)
class Difference:
    """One disagreement between a folder and its manifest.

    Attributes:
        path: the file's path below the folder; the manifest's own name where a line is at fault.
        kind: what is wrong with it.
        line: number of the manifest's line at fault, from 1; None where a file is at fault.
    """

    path: str
    kind: Kind
    line: int | None = None

    def __str__(self) -> str:
        where = "" if self.line is None else f" (line {self.line} of {MANIFEST})"
        return f"{_printable(self.path)}: {self.kind}{where}"


def seal(directory: Path) -> Path:
    """Write ``SHA512SUMS`` into a folder, in the format of ``sha512sum -c``.

    One line a file, ``<128 hexadecimal digits>  <path>``, UTF-8, LF, sorted by path. Every plain
    file at any depth is listed except the manifest itself; an older manifest is replaced. Empty
    folders hold no bytes and are not covered.

    Args:
        directory: the folder.

    Returns:
        The path of the manifest.

    Raises:
        GeoBasinError: no such folder, no file in it, a symbolic link or a special file, an
            unreadable file, a name with a backslash or a control character or outside UTF-8, two
            names that differ only in case, or the write is refused.
    """
    found, differences = _walk(directory)
    digests: dict[str, str] = {}
    for path in sorted(found):
        try:
            digests[path] = _digest(directory / path)
        except OSError:
            differences.append(Difference(path, Kind.UNREADABLE))
    if differences:
        raise GeoBasinError(f"cannot seal {directory}: {_summary(differences)}; remove or rename")
    if not digests:
        raise GeoBasinError(f"cannot seal {directory}: it holds no file; write the results first")
    manifest = directory / MANIFEST
    with atomic_path(manifest) as temporary:
        lines = (f"{digest}  {path}\n" for path, digest in digests.items())
        temporary.write_bytes("".join(lines).encode())
    return manifest


def verify(directory: Path) -> list[Difference]:
    """Compare a folder with its manifest.

    No path is ever opened because the manifest names it: the folder is listed, and the two lists
    are compared.

    Args:
        directory: a sealed folder.

    Returns:
        What differs, by path; empty when the folder is exactly as it was sealed.

    Raises:
        GeoBasinError: no such folder.
    """
    found, differences = _walk(directory)
    named = {difference.path for difference in differences}
    if MANIFEST in named:
        return sorted(differences, key=_place)
    try:
        data = (directory / MANIFEST).read_bytes()
    except FileNotFoundError:
        return [*sorted(differences, key=_place), Difference(MANIFEST, Kind.MISSING)]
    except OSError:
        return [*sorted(differences, key=_place), Difference(MANIFEST, Kind.UNREADABLE)]
    closed = {difference.path for difference in differences if difference.kind is Kind.UNREADABLE}
    listed, faults = _parse(data)
    differences += faults
    for path in sorted(found | listed.keys()):
        if path not in listed:
            differences.append(Difference(path, Kind.UNLISTED))
        elif path in found:
            try:
                if _digest(directory / path) != listed[path]:
                    differences.append(Difference(path, Kind.ALTERED))
            except OSError:
                differences.append(Difference(path, Kind.UNREADABLE))
        elif path not in named:
            unknown = any(parent.as_posix() in closed for parent in PurePosixPath(path).parents)
            differences.append(Difference(path, Kind.UNREADABLE if unknown else Kind.MISSING))
    return sorted(differences, key=_place)


def require_verified(directory: Path) -> None:
    """Refuse a folder that is not exactly as it was sealed.

    Args:
        directory: a sealed folder.

    Raises:
        GeoBasinError: no such folder, or anything in it differs; the first files are named.
    """
    differences = verify(directory)
    if differences:
        raise GeoBasinError(
            f"{directory} is not as it was sealed: {_summary(differences)}; "
            "restore the files or run again"
        )


def _walk(directory: Path) -> tuple[set[str], list[Difference]]:
    """Every plain file below a folder but its manifest, and whatever cannot be sealed."""
    try:
        is_folder = directory.is_dir()
    except OSError as error:
        raise GeoBasinError(f"cannot read {directory}: {error.strerror}; check the path") from error
    if not is_folder:
        raise GeoBasinError(f"no folder {directory}; check the path")
    files: set[str] = set()
    # The manifest counts before it is written, so that no other name may clash with it.
    everything = {MANIFEST}
    differences: list[Difference] = []
    waiting = [directory]
    while waiting:
        folder = waiting.pop()
        try:
            modes = {entry: entry.lstat().st_mode for entry in folder.iterdir()}
        except OSError:
            path = folder.relative_to(directory).as_posix()
            differences.append(Difference(path, Kind.UNREADABLE))
            continue
        for entry, mode in modes.items():
            path = entry.relative_to(directory).as_posix()
            everything.add(path)
            if not _holds(entry.name):
                differences.append(Difference(path, Kind.BAD_NAME))
            elif stat.S_ISDIR(mode) and path != MANIFEST:
                waiting.append(entry)
            elif not stat.S_ISREG(mode):
                differences.append(Difference(path, Kind.NOT_PLAIN))
            elif path != MANIFEST:
                files.add(path)
    differences += _case_clashes(everything)
    return files, differences


def _case_clashes(paths: Iterable[str]) -> Iterator[Difference]:
    """Names that a file system which folds case, or composes accents, would take for one."""
    seen: set[str] = set()
    for path in sorted(paths):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
        if folded in seen:
            yield Difference(path, Kind.CASE_CLASH)
        seen.add(folded)


def _parse(data: bytes) -> tuple[dict[str, str], list[Difference]]:
    """Digest of each listed path, and what is wrong with the lines."""
    listed: dict[str, str] = {}
    faults: list[Difference] = []
    lines = data.split(b"\n")
    last = lines.pop()
    if last or not lines:
        faults.append(Difference(MANIFEST, Kind.NO_FINAL_NEWLINE, len(lines) + 1))
    if last:
        lines.append(last)
    previous = ""
    for number, raw in enumerate(lines, start=1):
        if raw.endswith(b"\r"):
            faults.append(Difference(MANIFEST, Kind.CARRIAGE_RETURN, number))
            raw = raw[:-1]
        match = _LINE.fullmatch(raw.decode(errors="replace"))
        if match is None or not _holds(match[2]) or match[2] == MANIFEST:
            faults.append(Difference(MANIFEST, Kind.MALFORMED, number))
            continue
        digest, path = match.groups()
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            faults.append(Difference(path, Kind.LEAVES_FOLDER, number))
            continue
        if pure.as_posix() != path:
            faults.append(Difference(MANIFEST, Kind.MALFORMED, number))
            continue
        if path in listed:
            faults.append(Difference(path, Kind.DUPLICATE, number))
        elif path < previous:
            faults.append(Difference(path, Kind.UNSORTED, number))
        previous = path
        # Of two lines for one file the first counts: the fault is reported in any case.
        listed.setdefault(path, digest)
    return listed, faults


def _holds(name: str) -> bool:
    """Whether a line of the manifest can hold a name as it is."""
    escaped = "\\" in name or "\ufffd" in name
    return not escaped and not any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def _place(difference: Difference) -> tuple[str, int]:
    return difference.path, difference.line or 0


def _summary(differences: list[Difference]) -> str:
    first = ", ".join(str(difference) for difference in differences[:_NAMED_IN_ERROR])
    rest = len(differences) - _NAMED_IN_ERROR
    return f"{first} and {rest} more" if rest > 0 else first


def _printable(path: str) -> str:
    """The path with whatever a terminal might obey written as an escape."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in path)
