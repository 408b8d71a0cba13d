"""The fault campaign: every fault is counted, and one that is not survived is a loss.

``make faults`` tries each fault more often and writes the sealed table that the book shows.
"""

import ast
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from geobasin.files import write_json
from geobasin.machine import hardware, versions
from geobasin.seal import seal

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "book" / "runs" / "faults"
_TALLIES = pytest.StashKey[dict[tuple[str, str], "Tally"]]()
_MEASURED = pytest.StashKey[dict[str, dict[str, Any]]]()
_BEGAN = pytest.StashKey[float]()
_WRITE = "--write-faults"


@dataclass
class Tally:
    """One kind of fault: how often it was tried and what came of it.

    Attributes:
        target: what is attacked.
        kind: the fault.
        times: tries of this run.
        tried: those that were made.
        losses: a line for each that was not survived.
    """

    target: str
    kind: str
    times: int
    tried: int = 0
    losses: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin a try."""
        self.tried += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> bool:
        """Count a failed assertion, and anything that was raised, as a loss and go on."""
        if kind is None or not issubclass(kind, Exception):
            return False
        self.losses.append(f"try {self.tried}: {kind.__name__}: {error}")
        return True

    def tries(self) -> Iterator[int]:
        """The numbers of the tries; each belongs in a ``with`` block of this tally."""
        yield from range(self.times)
        self.settle()

    def examples(self, strategy: SearchStrategy[Any], body: Callable[[Any], object]) -> None:
        """Try ``body`` on as many examples as there are tries; hypothesis shrinks what fails."""
        relaxed = settings(
            max_examples=self.times,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

        def counted(example: Any) -> None:
            self.tried += 1
            body(example)

        try:
            relaxed(given(strategy)(counted))()
        except BaseException as error:
            self.losses.append(f"{type(error).__name__}: {error}")
            raise

    def settle(self) -> None:
        """Fail where something was lost."""
        if self.losses:
            some = "\n".join(self.losses[:5])
            pytest.fail(f"{len(self.losses)} of {self.tried} were lost:\n{some}")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the long campaign."""
    parser.addoption(_WRITE, action="store_true", help="the long campaign; writes the book's table")


def pytest_configure(config: pytest.Config) -> None:
    """Know the marker and keep the tallies."""
    words = "fault(target, kind, times, campaign): a kind of fault, and how often it is tried"
    config.addinivalue_line("markers", words)
    config.stash[_TALLIES] = {}
    config.stash[_MEASURED] = {}
    config.stash[_BEGAN] = time.monotonic()


@pytest.fixture
def fault(request: pytest.FixtureRequest, long: bool) -> Iterator[Tally]:
    """The tally of the fault that the test is marked with; several tests may share one."""
    mark = request.node.get_closest_marker("fault")
    target, kind = mark.args
    times = mark.kwargs["campaign"] if long else mark.kwargs["times"]
    tally = Tally(target, kind, times)
    yield tally
    kept = request.config.stash[_TALLIES].setdefault((target, kind), Tally(target, kind, 0))
    kept.tried += tally.tried
    kept.losses += tally.losses
    if not tally.tried:
        pytest.fail("this fault was never tried")


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What the campaign measures besides losses, by name."""
    return request.config.stash[_MEASURED]


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether this is the long campaign."""
    return request.config.getoption(_WRITE, default=False)


@pytest.fixture(scope="session")
def declared() -> list[tuple[str, str]]:
    """Every fault that a test in this folder declares, in the order of the files."""
    return list(dict.fromkeys(_declared()))


def _declared() -> Iterator[tuple[str, str]]:
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "fault"
            ):
                target, kind = (ast.literal_eval(word) for word in node.args)
                yield target, kind


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write and seal the table, where that was asked for."""
    if not session.config.getoption(_WRITE, default=False):
        return
    tallies = session.config.stash[_TALLIES]
    rows = [
        {"target": target, "fault": kind, "tried": tally.tried, "lost": len(tally.losses)}
        for target, kind in dict.fromkeys(_declared())
        if (tally := tallies.get((target, kind))) is not None
    ]
    document = {
        "command": "make faults",
        "seconds": time.monotonic() - session.config.stash[_BEGAN],
        "faults": rows,
        "measured": session.config.stash[_MEASURED],
        "versions": versions(),
        "hardware": hardware(torch.device("cpu")),
    }
    write_json(TABLE / "faults.json", document)
    seal(TABLE)
