"""Options of the benchmarks, and what they found: on the screen and, if wanted, in a file."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from geobasin.files import write_json
from geobasin.machine import hardware, versions

Record = Callable[..., None]

_found: list[dict[str, Any]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the steps run: cpu, cuda, ...")
    parser.addoption("--results", type=Path, metavar="FILE", help="write what was found as JSON")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def record() -> Record:
    """Keeps one result: what was measured, and numbers by name."""

    def keep(kind: str, **values: Any) -> None:
        _found.append({"kind": kind, **_short(values)})

    return keep


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _found:
        return
    terminalreporter.section(f"what was found, {torch.get_num_threads()} CPU thread(s)")
    for result in _found:
        terminalreporter.write_line(", ".join(f"{name} {value}" for name, value in result.items()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path = session.config.getoption("--results")
    # Half of the results would look like all of them.
    if path is None or exitstatus != 0:
        return
    place = torch.device(session.config.getoption("--device"))
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": hardware(place),
        "versions": versions(),
        "results": _found,
    }
    write_json(path, document)
