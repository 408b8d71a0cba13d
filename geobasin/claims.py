"""Claims of the source documents, each with what was found and a verdict that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy.stats import t as student

from geobasin import published
from geobasin.probe import prototype_table
from geobasin.train import Training

# How far from one half still counts as near it; fixed before anything was measured.
_NEAR = 0.05
_OWN_TABLE = "the card's own table"

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

    def within(self, low: float, high: float) -> bool:
        """Whether the whole interval lies between the two bounds."""
        return low <= self.low and self.high <= high

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
    """A row for each claim.

    Args:
        claims: in the order of the rows.

    Returns:
        A table for a page, with columns source, claim, said there, found here, verdict and
        settled by; its ``data`` is the DataFrame.
    """
    table = pd.DataFrame(
        {
            "source": claim.source,
            "claim": claim.statement,
            "said there": claim.said,
            "found here": claim.found,
            "verdict": claim.verdict,
            "settled by": claim.settles,
        }
        for claim in claims
    )
    styled = table.style.hide(axis="index")
    return styled.set_table_attributes('class="dataframe geobasin-claims"')


def card_claims(trainings: Sequence[Training]) -> list[Claim]:
    """Claims of the GeoFractalDavid model card, against its own tables and against our runs.

    Args:
        trainings: finished runs on one feature set, two seeds or more.

    Returns:
        The claims, each with its evidence.
    """
    scales = published.SCALES.values()
    final = published.ALPHA["final"]
    lowest = min(row.prototype_range[0] for row in scales)
    highest = max(row.prototype_range[1] for row in scales)
    means = [row.prototype_mean for row in scales]
    leads = sum(row.weights[2] > row.weights[0] for row in scales)
    alpha = seed_interval([training.history[-1].alpha for training in trainings])
    centre = seed_interval(
        [float(prototype_table(training.model)["mean"].mean()) for training in trainings]
    )
    runs = f"{len(trainings)} seeds on {trainings[0].features.name}"
    card = "model card"
    return [
        Claim(
            source=card,
            statement="accuracy on ImageNet-1k from frozen CLIP features",
            said=f"{published.ACCURACY:.2%}",
            found="not run: those features are not part of this book",
            holds=None,
            settles="the features, and a linear probe beside them",
        ),
        Claim(
            source=card,
            statement="alpha stays near one half",
            said=f"final alpha {final}",
            found=f"its table: {abs(final - 0.5):.4f} away",
            holds=abs(final - 0.5) < _NEAR,
            settles=_OWN_TABLE,
        ),
        Claim(
            source=card,
            statement="alpha stays near one half, tried here",
            said="",
            found=str(alpha),
            holds=alpha.within(0.5 - _NEAR, 0.5 + _NEAR),
            settles=runs,
        ),
        Claim(
            source=card,
            statement="prototypes gather around one half",
            said=f"means {min(means)} to {max(means)}",
            found=f"its table: all from {lowest} to {highest}",
            holds=all(abs(mean - 0.5) < _NEAR for mean in means),
            settles=_OWN_TABLE,
        ),
        Claim(
            source=card,
            statement="prototypes gather around one half, tried here",
            said="",
            found=f"mean {centre}",
            holds=centre.within(0.5 - _NEAR, 0.5 + _NEAR),
            settles=runs,
        ),
        Claim(
            source=card,
            statement="low scales use features, high ones crystals",
            said="a row of weights for each scale",
            found=f"its table: crystal leads at {leads} of {len(scales)}",
            holds=leads >= 2,
            settles=_OWN_TABLE,
        ),
        Claim(
            source=card,
            statement="no cross-entropy on arbitrary weights",
            said="cross-entropy applied to geometric scores",
            found="the loss is one, over scores that are not arbitrary",
            holds=True,
            settles="reading card and equation side by side",
        ),
    ]


def stage_four_claims() -> list[Claim]:
    """Claims of RFT Stage Four, which prints settings but no figures.

    Returns:
        The claims; each waits for a measurement.
    """
    paired = "five or more paired seeds"
    one_seed = "chapter 6 shows one seed, which has no interval"
    rows = {
        "less energy per step at equal accuracy": (
            "both optimisers run the same network on the same batch; joules to a target are what "
            "can differ",
            f"joules to a target fixed beforehand, {paired}",
        ),
        "coherence near unity": (one_seed, paired),
        "drift more tightly bounded than Adam's": (one_seed, paired),
        "the same pattern on synthetic data": (one_seed, paired),
        "runs are sealed with SHA-512": (
            "the method works; no digest is printed to compare with",
            "the published digests",
        ),
    }
    return [
        Claim("Stage Four", statement, "no figure", found, None, settles)
        for statement, (found, settles) in rows.items()
    ]
