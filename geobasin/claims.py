"""Claims of a source document, what was found, and a verdict that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy.stats import t as student

SUPPORTED = "supported"
NOT_SUPPORTED = "not supported"
NOT_TESTABLE = "not testable here"


@dataclass(frozen=True)
class Claim:
    """One claim and its evidence.

    Attributes:
        source: the document it comes from.
        statement: the claim, in our words.
        said: the figures given for it in the source.
        found: what was measured, with its interval; or why nothing was.
        holds: whether the evidence agrees; None where there is none.
        settles: the measurement that would settle it, or did.
    """

    source: str
    statement: str
    said: str
    found: str
    holds: bool | None
    settles: str

    @property
    def verdict(self) -> str:
        """Supported, not supported, or not testable here."""
        if self.holds is None:
            return NOT_TESTABLE
        return SUPPORTED if self.holds else NOT_SUPPORTED


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: of the seeds.
        low: lower end.
        high: upper end.
    """

    mean: float
    low: float
    high: float

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above the bound."""
        return self.low > bound

    def within(self, low: float, high: float) -> bool:
        """Whether the whole interval lies between the two bounds."""
        return low <= self.low and self.high <= high

    def points(self) -> str:
        """A difference of shares, in percentage points and with its sign."""
        # Adding zero makes zero of what is rounded to minus zero.
        ends = (round(100 * value, 2) + 0.0 for value in (self.mean, self.low, self.high))
        return "{:+.2f} ({:+.2f} to {:+.2f})".format(*ends)

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean over seeds with the 95 % interval of Student's t.

    ``mean +- t_{0.975, n-1} s / sqrt(n)``, which takes the seeds as draws from a normal
    distribution; with few of them it is wide, as it should be.

    Args:
        values: one number a seed, two or more.

    Returns:
        Mean and interval.
    """
    numbers = np.asarray(values, dtype=np.float64)
    half = student.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    mean = float(numbers.mean())
    return Interval(mean, mean - float(half), mean + float(half))


def claims_table(claims: Sequence[Claim]) -> Styler:
    """A row for each claim of one source.

    Args:
        claims: in the order of the rows.

    Returns:
        A table for a page, with columns claim, verdict, found here, said there and settled by,
        what matters most first; its ``data`` is the DataFrame.
    """
    table = pd.DataFrame(
        {
            "claim": claim.statement,
            "verdict": claim.verdict,
            "found here": claim.found,
            "said there": claim.said,
            "settled by": claim.settles,
        }
        for claim in claims
    )
    styled = table.style.hide(axis="index")
    return styled.set_table_attributes('class="dataframe geobasin-claims"')
