"""What one training in a comparison of optimisers leaves behind."""

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from geobasin.errors import GeoBasinError
from geobasin.files import read_json, write_json


@dataclass(frozen=True)
class Judged:
    """What the validation images said at one step.

    Attributes:
        step: steps taken.
        loss: mean cross-entropy in nat; None where it is not a finite number.
        acc: share classified rightly, in [0, 1].
        seconds: of training up to here, without the validations and the making of the images.
        joules: likewise; None where they were not measured.
    """

    step: int
    loss: float | None
    acc: float
    seconds: float
    joules: float | None


@dataclass(frozen=True)
class TrialResult:
    """What a trial leaves.

    Attributes:
        trial: what it was, as JSON.
        losses: training loss in nat of every step, before the step; None where not finite.
        judged: validations, in the order of their steps.
        energy_source: how the joules were had.
    """

    trial: dict[str, Any]
    losses: list[float | None]
    judged: list[Judged]
    energy_source: str = "unavailable"
    stopped: str | None = None

    @property
    def final(self) -> float:
        """Validation loss after the last step in nat; infinite where the run broke off."""
        loss = None if self.stopped else self.judged[-1].loss
        return math.inf if loss is None else loss

    @property
    def late(self) -> float:
        """Mean validation loss of the last quarter of the validations; infinite as :attr:`final`.

        A learning rate is chosen by it, for the loss of one moment jumps from step to step.
        """
        losses = [judged.loss for judged in self.judged[-max(1, len(self.judged) // 4) :]]
        known = [loss for loss in losses if loss is not None]
        whole = self.stopped is None and losses and len(known) == len(losses)
        return statistics.fmean(known) if whole else math.inf

    def steps_to(self, target: float) -> float:
        """Steps until the validation loss first reaches a target.

        Args:
            target: validation loss in nat.

        Returns:
            Where the straight line between two validations crosses the target, or the first
            validation where that is below it already; infinite for a miss.
        """
        return self._until(target, lambda judged: judged.step)

    def seconds_to(self, target: float) -> float:
        """Seconds of training until then, read off the same way; infinite for a miss."""
        return self._until(target, lambda judged: judged.seconds)

    def joules_to(self, target: float) -> float | None:
        """Joules until then; None where they were not measured, infinite for a miss."""
        if any(judged.joules is None for judged in self.judged):
            return None
        return self._until(target, lambda judged: judged.joules or 0.0)

    def _until(self, target: float, of: Callable[[Judged], float]) -> float:
        before: Judged | None = None
        for after in self.judged:
            if after.loss is not None and after.loss <= target:
                if before is None or before.loss is None:
                    return of(after)
                share = (before.loss - target) / (before.loss - after.loss)
                return of(before) + share * (of(after) - of(before))
            before = after
        return math.inf

    def write(self, path: Path) -> None:
        """Write the result as strict JSON, atomically.

        Args:
            path: the file.
        """
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a result.

        Args:
            path: what :meth:`write` wrote.

        Returns:
            The result.

        Raises:
            GeoBasinError: it is something else.
        """
        value = read_json(path)
        try:
            judged = [Judged(**judged) for judged in value.pop("judged")]
            return cls(judged=judged, **value)
        except (AttributeError, KeyError, TypeError) as error:
            raise GeoBasinError(f"{path} is not a trial's result: {error}; remove it") from error
