"""Things timed in turns, so that what else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pytest_benchmark.fixture import BenchmarkFixture

Work = Callable[[], object]


@dataclass(frozen=True)
class Turns:
    """Seconds of every turn, of what is measured and of what it is measured against.

    Attributes:
        own: of what is measured.
        others: of each of the others, by name, as many.
    """

    own: list[float]
    others: dict[str, list[float]]

    def times_quicker_than(self, name: str) -> dict[str, float]:
        """Seconds of another over one's own, turn by turn: quartiles of the ratio."""
        pairs = zip(self.others[name], self.own, strict=True)
        low, middle, high = statistics.quantiles([other / own for other, own in pairs])
        return {"low": low, "median": middle, "high": high}

    def seconds(self) -> dict[str, float]:
        """The quickest turn of each, what is measured as ``own``."""
        return {name: min(values) for name, values in {"own": self.own, **self.others}.items()}


def take_turns(
    benchmark: BenchmarkFixture,
    own: Work,
    others: Mapping[str, Work],
    device: torch.device,
    rounds: int,
    warmup: int = 1,
) -> Turns:
    """Time something with pytest-benchmark, and others before each of its rounds.

    Args:
        benchmark: the fixture.
        own: what is measured.
        others: what it is measured against, by name.
        device: where it all runs; its queue is emptied before and after every turn.
        rounds: turns that count, at least 2.
        warmup: turns before them.

    Returns:
        Seconds of the turns that count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in others}

    def settle() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def take_the_others() -> None:
        for name, work in others.items():
            settle()
            began = time.perf_counter()
            work()
            settle()
            seconds[name].append(time.perf_counter() - began)

    def take_one() -> None:
        own()
        settle()

    benchmark.pedantic(take_one, setup=take_the_others, rounds=rounds, warmup_rounds=warmup)
    taken = list(benchmark.stats.stats.data)
    return Turns(taken, {name: values[warmup:] for name, values in seconds.items()})
