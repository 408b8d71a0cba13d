"""What an epoch of training left behind, in memory and as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from geobasin.evaluation import Evaluation


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch left behind.

    Attributes:
        epoch: counted from 1.
        terms: mean of every term of the loss over the epoch's rows.
        val: evaluation on the validation rows.
        alpha: the staircase's middle height.
        geometric_weights: ``{scale: {feature, cantor, crystal}}``.
        lr: rate of the heads at the last step.
        seconds: duration, evaluation included.
    """

    epoch: int
    terms: dict[str, float]
    val: Evaluation
    alpha: float
    geometric_weights: dict[int, dict[str, float]]
    lr: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON can hold it, scales as strings."""
        return {
            **asdict(self),
            "val": {
                "accuracy": self.val.accuracy,
                "scale_accuracy": _named(self.val.scale_accuracy),
            },
            "geometric_weights": _named(self.geometric_weights),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "EpochRecord":
        """The record that :meth:`as_dict` gave."""
        val = record["val"]
        scale_accuracy = {int(scale): share for scale, share in val["scale_accuracy"].items()}
        weights = {int(scale): parts for scale, parts in record["geometric_weights"].items()}
        evaluation = Evaluation(val["accuracy"], scale_accuracy)
        return cls(**(record | {"val": evaluation, "geometric_weights": weights}))


def _named(by_scale: dict[int, Any]) -> dict[str, Any]:
    return {str(scale): value for scale, value in by_scale.items()}
