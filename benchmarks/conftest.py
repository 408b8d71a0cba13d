"""Options of the benchmarks, and the ratios at the end of a run."""

import statistics
from collections import defaultdict

import pytest
import torch

REFERENCE = "reference"

# Seconds of the quickest step, by what is computed and by how.
_quickest: dict[str, dict[str, float]] = defaultdict(dict)
# Of each method: its seconds over those of foreach AdamW, pair by pair.
_ratios: dict[str, list[float]] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the steps run: cpu, cuda, ...")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def record_quickest() -> dict[str, dict[str, float]]:
    return _quickest


@pytest.fixture
def record_ratios() -> dict[str, list[float]]:
    return _ratios


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long a step takes next to the reference's, both of this very run."""
    _summarise_pairs(terminalreporter)
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


def _summarise_pairs(terminalreporter: pytest.TerminalReporter) -> None:
    if not _ratios:
        return
    threads = torch.get_num_threads()
    terminalreporter.section(f"a step next to foreach AdamW's, in turns, {threads} CPU thread(s)")
    for method, ratios in _ratios.items():
        low, middle, high = statistics.quantiles(ratios)
        terminalreporter.write_line(
            f"{method:<28}{middle:8.2f} x   (half of {len(ratios)} pairs: {low:.2f} to {high:.2f})"
        )
