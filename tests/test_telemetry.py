"""Logs are written, torn, spoilt line by line, read back and gone on with."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geobasin.errors import GeoBasinError
from geobasin.telemetry import DEFINITIONS, FORMAT, StepRecord, TelemetryLog, read_log

RECORD = StepRecord(
    mode="RFT",
    step=1,
    drift=None,
    flux=0.25,
    E_ret=1.5,
    coh=None,
    loss=2.5,
    acc=0.125,
    J_step=None,
    tempC=None,
    t=0.5,
)

SOURCE_KEYS = [
    "mode",
    "step",
    "drift",
    "flux",
    "E_ret",
    "coh",
    "loss",
    "acc",
    "J_step",
    "tempC",
    "t",
]


def records(count: int) -> list[StepRecord]:
    return [
        replace(RECORD, step=n, t=0.5 * n, drift=1.5, coh=math.cos(1.5))
        for n in range(1, count + 1)
    ]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "log.jsonl"
    with TelemetryLog.create(path, {"config": {"lr": 1e-3}}) as writer:
        for record in records(4):
            writer.write(record)
    return path


def test_what_is_written_comes_back(log: Path) -> None:
    header, back = read_log(log)
    assert back == records(4)
    assert header["format"] == FORMAT
    assert header["config"] == {"lr": 1e-3}


def test_a_line_is_strict_json_with_the_stages_keys_first(log: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    lines = log.read_bytes().decode().split("\n")
    assert lines[-1] == ""
    for line in lines[1:-1]:
        value = json.loads(line, parse_constant=refuse)
        assert list(value)[: len(SOURCE_KEYS)] == SOURCE_KEYS
        assert value["J_source"] == "unavailable"


def test_the_header_defines_every_field_with_unit_and_range(log: Path) -> None:
    header, _ = read_log(log)
    assert set(header["definitions"]) == {field.name for field in fields(StepRecord)}
    assert header["definitions"] == DEFINITIONS
    for definition in DEFINITIONS.values():
        assert set(definition) == {"is", "unit", "range"}


def test_a_line_is_in_the_file_once_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    writer = TelemetryLog.create(path, {})
    writer.write(RECORD)
    assert read_log(path)[1] == [RECORD]
    writer.close()
    writer.close()


def test_a_log_is_never_written_over(log: Path) -> None:
    before = log.read_bytes()
    with pytest.raises(GeoBasinError, match="exists already"):
        TelemetryLog.create(log, {})
    assert log.read_bytes() == before


def test_a_header_json_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError):
        TelemetryLog.create(tmp_path / "log.jsonl", {"lr": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [4, 3])
def test_steps_only_go_forward(log: Path, step: int) -> None:
    with TelemetryLog.resume(log) as writer, pytest.raises(GeoBasinError, match="cannot follow"):
        writer.write(replace(RECORD, step=step))
    assert len(read_log(log)[1]) == 4


# Torn and resumed.


def test_a_torn_last_line_is_refused_by_the_reader_and_cut_on_resume(log: Path) -> None:
    whole = log.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(whole)):
        log.write_bytes(whole[:cut])
        with pytest.raises(GeoBasinError, match="line 5"):
            read_log(log)
        with TelemetryLog.resume(log) as writer:
            writer.write(records(4)[3])
        assert log.read_bytes() == whole


def test_a_resumed_log_keeps_what_came_before_the_checkpoint(log: Path) -> None:
    whole = log.read_bytes()
    with TelemetryLog.resume(log, step=2) as writer:
        for record in records(4)[2:]:
            writer.write(record)
    assert log.read_bytes() == whole


def test_a_resumed_log_can_begin_after_the_header(log: Path) -> None:
    with TelemetryLog.resume(log, step=0) as writer:
        writer.write(RECORD)
    assert read_log(log)[1] == [RECORD]


def test_only_a_log_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(GeoBasinError, match="check the path"):
        TelemetryLog.resume(tmp_path / "none.jsonl")
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"format": ')
    with pytest.raises(GeoBasinError, match="no header"):
        TelemetryLog.resume(torn)
    assert torn.read_text() == '{"format": '


# Spoilt lines, each refused by its number.


def change(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda line: {**line, **values}


SPOILT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a field too few": lambda line: {k: v for k, v in line.items() if k != "coh"},
    "a field too many": change(extra=1),
    "an angle beyond pi": change(drift=3.2),
    "a cosine beyond 1": change(coh=-1.01),
    "an accuracy in percent": change(acc=71.4),
    "a negative flux": change(flux=-1e-9),
    "a negative energy": change(J_step=-1.0),
    "a step that is no whole number": change(step=2.5),
    "a step of 0": change(step=0),
    "a step that does not follow": change(step=1),
    "text for a number": change(loss="2.5"),
    "truth for a number": change(loss=True),
    "no step": change(step=None),
    "no time": change(t=None),
    "no name": change(mode=""),
    "a number beyond all floats": change(loss=10**400),
    "a list": lambda line: [line],
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_line_is_refused_by_its_number(log: Path, name: str) -> None:
    lines = log.read_text().split("\n")
    lines[2] = json.dumps(SPOILT[name](json.loads(lines[2])))
    log.write_text("\n".join(lines))
    with pytest.raises(GeoBasinError, match=r"log\.jsonl line 3: ") as caught:
        read_log(log)
    assert "\n" not in str(caught.value)
    with pytest.raises(GeoBasinError, match="line 3"):
        TelemetryLog.resume(log)


@pytest.mark.parametrize(
    "line",
    ["", "{", "null", '{"loss": NaN}', '{"loss": Infinity}', "[" * 100_000, '{"step":2,"step":3}'],
)
def test_what_is_no_strict_json_is_refused_by_its_line(log: Path, line: str) -> None:
    lines = log.read_text().split("\n")
    lines[3] = line
    log.write_text("\n".join(lines))
    with pytest.raises(GeoBasinError, match="line 4"):
        read_log(log)


def test_a_number_that_overflows_is_refused(log: Path) -> None:
    log.write_text(log.read_text().replace('"loss": 2.5', '"loss": 1e999', 1))
    with pytest.raises(GeoBasinError, match="line 2"):
        read_log(log)


@pytest.mark.parametrize("content", [b"", b"\n", b'{"format": "other"}\n', b"\xff\xfe"])
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(GeoBasinError, match=r"log\.jsonl"):
        read_log(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["drift", "flux", "E_ret", "loss", "J_step", "tempC", "t"])
def test_a_record_holds_no_number_that_is_none(name: str, value: float) -> None:
    with pytest.raises(GeoBasinError, match=name):
        replace(RECORD, **{name: value})


maybe = st.none() | st.floats(0, 1e300)


@given(
    step=st.integers(1, 10**9),
    drift=st.none() | st.floats(0, math.pi),
    coh=st.none() | st.floats(-1, 1),
    flux=maybe,
    loss=maybe,
    joules=maybe,
    celsius=st.none() | st.floats(-50, 150),
    t=st.floats(0, 1e9),
)
def test_every_sound_record_survives_its_line(
    step: int,
    drift: float | None,
    coh: float | None,
    flux: float | None,
    loss: float | None,
    joules: float | None,
    celsius: float | None,
    t: float,
) -> None:
    record = StepRecord("BASE", step, drift, flux, None, coh, loss, None, joules, celsius, t)
    assert StepRecord(**json.loads(json.dumps(asdict(record), allow_nan=False))) == record
