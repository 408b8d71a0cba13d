"""How far a run of the stage has come: what its checkpoints keep and its summary tells."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from geobasin.energy import EnergyWindow
from geobasin.stage4_model import Validation

_KEPT = ("steps", "seconds", "paused", "telemetry_seconds", "last", "best", "resumed")


@dataclass
class Progress:
    """How far a run has come; it is filled as the run goes, so that a failure leaves it true.

    Attributes:
        steps: steps taken.
        seconds: from the start of the first step to the end of the last, validations and
            checkpoints in between included; what was lost to an interruption is left out.
        paused: seconds of these that validations and checkpoints took.
        telemetry_seconds: seconds of these that observing steps and writing the log took; None
            where the device works on while the clock is read.
        last: ``step``, ``loss`` and ``acc`` of the last validation; None before the first.
        best: the same of the validation with the lowest loss.
        reached: ``steps``, ``seconds`` without pauses and ``joules`` that the target took; None
            where it was not reached.
        resumed: for every time the run went on after an interruption: ``after_step``, and the
            versions and the hardware.
        energy: of all training steps; None before the first.
        stopped: the fault that ended the run; None where there was none.
    """

    steps: int = 0
    seconds: float = 0.0
    paused: float = 0.0
    telemetry_seconds: float | None = 0.0
    last: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    reached: dict[str, Any] | None = None
    resumed: list[dict[str, Any]] = field(default_factory=list)
    energy: EnergyWindow | None = None
    stopped: str | None = None

    @property
    def training_seconds(self) -> float:
        """Seconds that the steps took, pauses left out."""
        return self.seconds - self.paused

    def judge(self, validation: Validation) -> None:
        """Note a validation after the last step taken."""
        self.last = {"step": self.steps, **asdict(validation)}
        if self.best is None or validation.loss < self.best["loss"]:
            self.best = self.last

    def observed(self, seconds: float) -> None:
        """Count seconds spent on telemetry."""
        if self.telemetry_seconds is not None:
            self.telemetry_seconds += seconds

    def saved(self) -> dict[str, Any]:
        """Give what a run needs to go on, as JSON holds it."""
        whole = asdict(self)
        return {name: whole[name] for name in _KEPT}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`saved` gave.

        Raises:
            LookupError: something is missing.
        """
        for name in _KEPT:
            setattr(self, name, saved[name])
