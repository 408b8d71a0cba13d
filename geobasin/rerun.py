"""A reader's numbers beside the published ones, with the tolerance that their spread allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

from geobasin.claims import Interval
from geobasin.errors import GeoBasinError
from geobasin.ladder_folder import read_ladder

_LEVEL = 0.95


@dataclass(frozen=True)
class Rerun:
    """One quantity, measured by the reader and published before.

    Attributes:
        quantity: what it is, in a few words.
        yours: the reader's values, one a seed, one or more.
        published: ours from a verified sealed run, one a seed; a single one where no chance is in
            it.
        step: the smallest amount by which the quantity can differ, 0 where it is continuous. For an
            accuracy that is one row of the test set.
    """

    quantity: str
    yours: tuple[float, ...]
    published: tuple[float, ...]
    step: float = 0.0

    @property
    def tolerance(self) -> Interval:
        """Where the mean of the reader's values should lie."""
        return prediction_interval(self.published, len(self.yours), self.step)

    @property
    def holds(self) -> bool:
        """Whether it lies there."""
        mean, ends = float(np.mean(self.yours)), self.tolerance
        # Two ways of adding up the same rows may differ in the last bit.
        slack = 1e-9 * max(abs(ends.low), abs(ends.high), 1.0)
        return ends.low - slack <= mean <= ends.high + slack


def prediction_interval(values: Sequence[float], new: int = 1, step: float = 0.0) -> Interval:
    """Where the mean of new runs should lie, given runs that differ by their seed alone.

    ``mean +- t_{0.975, n-1} s sqrt(1/new + 1/n)``, the 95 % prediction interval for draws from a
    normal distribution whose mean and deviation are known from n draws only (Student's t). Unlike
    the interval of a mean it does not shrink to nothing with n, since the new runs vary too.

    Args:
        values: one number a seed, n of them; with a single one, ``step`` alone is the tolerance.
        new: number of new runs whose mean is to be judged, at least 1.
        step: the half-width is never below this.

    Returns:
        The mean of the values and the two ends.

    Raises:
        GeoBasinError: nothing to compare with, or a single value and no step.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if new < 1 or numbers.size < 1 or (numbers.size == 1 and step <= 0):
        raise GeoBasinError(
            f"{numbers.size} published values and {new} new ones give no tolerance; "
            "publish two seeds or more, or name the smallest step of the quantity"
        )
    half = step
    if numbers.size > 1:
        deviation = numbers.std(ddof=1) * np.sqrt(1 / new + 1 / numbers.size)
        half = max(step, float(student.ppf((1 + _LEVEL) / 2, numbers.size - 1) * deviation))
    mean = float(numbers.mean())
    return Interval(mean, mean - half, mean + half)


def accuracy_rerun(folder: Path, method: str, yours: float | Sequence[float]) -> Rerun:
    """Compare accuracies with those of a sealed ladder.

    Args:
        folder: a ladder's folder; its seal is verified.
        method: one of its methods, as its table names it.
        yours: your accuracy on the same rows, a fraction; or one for each seed.

    Returns:
        The comparison; one row of the ladder is its smallest step.

    Raises:
        GeoBasinError: no ladder there, it is not as it was sealed, or it has no such method.
    """
    sealed = read_ladder(folder)
    found = {outcome.name: outcome for outcome in sealed.outcomes}
    if method not in found:
        raise GeoBasinError(f"{folder} has no method '{method}'; it has {', '.join(found)}")
    correct = found[method].predictions == sealed.labels
    return Rerun(
        quantity=f"accuracy, {method}",
        yours=tuple(float(value) for value in np.atleast_1d(yours)),
        published=tuple(correct.mean(1).tolist()),
        step=1 / len(sealed.labels),
    )


def rerun_table(reruns: Sequence[Rerun]) -> pd.DataFrame:
    """A row for each quantity.

    Args:
        reruns: in the order of the rows.

    Returns:
        ``yours`` and ``published``, the means over the seeds; ``low`` and ``high``, the ends of the
        tolerance; ``seeds``, how many published ones it comes from; ``within``, yes or no.
    """
    rows = {
        rerun.quantity: {
            "yours": float(np.mean(rerun.yours)),
            "published": rerun.tolerance.mean,
            "low": rerun.tolerance.low,
            "high": rerun.tolerance.high,
            "seeds": len(rerun.published),
            "within": "yes" if rerun.holds else "no",
        }
        for rerun in reruns
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("quantity")
