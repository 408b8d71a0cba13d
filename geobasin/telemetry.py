"""The log of a run: strict JSON lines, a header first, appended to and never overwritten."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from geobasin.errors import GeoBasinError
from geobasin.files import atomic_path, canonical_json
from geobasin.step_record import DEFINITIONS, StepRecord

__all__ = ["DEFINITIONS", "FORMAT", "StepRecord", "TelemetryLog", "read_header", "read_log"]

FORMAT = "geobasin.telemetry/1"


class TelemetryLog:
    """A log that is being written. Use :meth:`create` or :meth:`resume`.

    Args:
        path: a log with a header, whole to its last line.
        last_step: the number of its last step; 0 where there is none.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.path = path
        self._last = last_step
        self._file = path.open("a", encoding="utf-8", newline="\n")

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> Self:
        """Begin a log.

        Args:
            path: a file that does not exist; its folder is made.
            header: config, versions, hardware and energy source, as JSON can hold them. The
                format's name and the definitions of the fields are added.

        Returns:
            The log, ready for records.

        Raises:
            GeoBasinError: there is a log already, the header is no strict JSON, or the file system
                refuses the write.
        """
        if path.exists():
            raise GeoBasinError(f"{path} exists already; choose another --out or move it away")
        line = canonical_json(
            {"format": FORMAT, **header, "definitions": DEFINITIONS, "unknown": "null"}
        )
        with atomic_path(path) as temporary:
            temporary.write_text(line + "\n", encoding="utf-8", newline="\n")
        return cls(path, 0)

    @classmethod
    def resume(cls, path: Path, step: int | None = None) -> Self:
        """Go on with a log: a torn last line is cut, and what came after ``step``.

        Args:
            path: a log.
            step: the last step to keep; None keeps every whole line.

        Returns:
            The log, ready for the next record.

        Raises:
            GeoBasinError: no such log, its header is torn, or a whole line in it is bad.
        """
        whole = _read(path, whole_lines=True)
        _, records = _parse(path, whole)
        kept = [r for r in records if step is None or r.step <= step]
        lines = whole.split("\n")[: 1 + len(kept)]
        with atomic_path(path) as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        return cls(path, kept[-1].step if kept else 0)

    def write(self, record: StepRecord) -> None:
        """Append one record; it reaches the file before this returns.

        Args:
            record: of a later step than the last one.

        Raises:
            GeoBasinError: the step is not later, or the file system refuses the write.
        """
        if record.step <= self._last:
            raise GeoBasinError(f"{self.path}: step {record.step} cannot follow step {self._last}")
        try:
            self._file.write(canonical_json(asdict(record)) + "\n")
            self._file.flush()
        except OSError as error:
            raise GeoBasinError(
                f"cannot write {self.path}: {error.strerror}; free some space"
            ) from error
        self._last = record.step

    @property
    def last_step(self) -> int:
        """The number of the last step in the log; 0 where there is none."""
        return self._last

    def sync(self) -> None:
        """Bring everything to the disk; what is written after this cannot outlive the log.

        Raises:
            GeoBasinError: the file system refuses the write.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise GeoBasinError(
                f"cannot write {self.path}: {error.strerror}; free some space"
            ) from error

    def close(self) -> None:
        """Bring everything to the disk and close the file; closing twice is harmless."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        """Give the log itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the log, whatever happened."""
        self.close()


def read_log(path: Path) -> tuple[dict[str, Any], list[StepRecord]]:
    """Read a whole log.

    Args:
        path: a log that nobody is writing.

    Returns:
        The header, and the records in the order of their steps.

    Raises:
        GeoBasinError: no such file, or a line that is torn, not strict JSON, lacks a field, has one
            too many or a value outside its range, or whose step does not follow; it is named.
    """
    return _parse(path, _read(path))


def read_header(path: Path) -> dict[str, Any]:
    """Read a log's header alone, whatever became of its last line.

    Args:
        path: a log.

    Returns:
        The header.

    Raises:
        GeoBasinError: no such file, or its first line is not a log's header.
    """
    text = _read(path, whole_lines=True)
    return _parse(path, text[: text.find("\n") + 1])[0]


def _read(path: Path, whole_lines: bool = False) -> str:
    try:
        data = path.read_bytes()
        return (data[: data.rfind(b"\n") + 1] if whole_lines else data).decode()
    except OSError as error:
        raise GeoBasinError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise GeoBasinError(f"{path} is not UTF-8 at byte {error.start}; it is no log") from error


def _parse(path: Path, text: str) -> tuple[dict[str, Any], list[StepRecord]]:
    lines = text.split("\n")
    torn = lines.pop()
    header: dict[str, Any] | None = None
    records: list[StepRecord] = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line, parse_constant=_refuse, object_pairs_hook=_once)
            if not isinstance(value, dict):
                raise ValueError("it is not an object")
            if header is None:
                if value.get("format") != FORMAT:
                    raise ValueError(f"the header's format is not {FORMAT!r}")
                header = value
                continue
            record = _record(value)
            if records and record.step <= records[-1].step:
                raise ValueError(f"step {record.step} follows step {records[-1].step}")
            records.append(record)
        except (ValueError, RecursionError, GeoBasinError) as error:
            raise GeoBasinError(f"{path} line {number}: {error}; the log is damaged") from error
    if torn:
        raise GeoBasinError(f"{path} line {len(lines) + 1}: torn; cut the unfinished line")
    if header is None:
        raise GeoBasinError(f"{path} line 1: no header; it is no log")
    return header, records


def _record(value: dict[str, Any]) -> StepRecord:
    names = [field.name for field in fields(StepRecord)]
    for name in names:
        if name not in value:
            raise ValueError(f"field {name!r} is missing")
    for name in value:
        if name not in names:
            raise ValueError(f"field {name!r} is unknown")
    return StepRecord(**value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a field is given twice")
    return value
