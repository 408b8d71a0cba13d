"""Options of the benchmarks, and the ratios at the end of a run."""

from collections import defaultdict

import pytest
import torch

REFERENCE = "reference"

# Seconds of the quickest step, by what is computed and by how.
_quickest: dict[str, dict[str, float]] = defaultdict(dict)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the steps run: cpu, cuda, ...")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def record_quickest() -> dict[str, dict[str, float]]:
    return _quickest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long a step takes next to the reference's, both of this very run."""
    rows = [
        (work, method, seconds, times[REFERENCE])
        for work, times in _quickest.items()
        if REFERENCE in times
        for method, seconds in times.items()
    ]
    if not rows:
        return
    threads = torch.get_num_threads()
    terminalreporter.section(f"a step next to the reference, {threads} CPU thread(s)")
    for work, method, seconds, reference in rows:
        terminalreporter.write_line(
            f"{work:<28}{method:<12}{1000 * seconds:10.2f} ms{seconds / reference:8.2f} x"
        )
